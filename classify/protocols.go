package classify

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/dns"
	"github.com/exspan/exspan/classify/observe/kerberos"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Protocols returns every protocol that can be read, in order of priority: on
// each port those that are expected there come first, then the others in this
// order.
func Protocols() []observe.Protocol {
	return []observe.Protocol{
		dcerpc.Protocol(),
		tls.Protocol(),
		kerberos.Protocol(),
		dns.Protocol(),
	}
}
