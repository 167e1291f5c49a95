package session

import (
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/cotp"
	"github.com/exspan/exspan/classify/observe/dcerpc"
	"github.com/exspan/exspan/classify/observe/dns"
	"github.com/exspan/exspan/classify/observe/h323"
	"github.com/exspan/exspan/classify/observe/http"
	"github.com/exspan/exspan/classify/observe/imap"
	"github.com/exspan/exspan/classify/observe/ipsec"
	"github.com/exspan/exspan/classify/observe/irc"
	"github.com/exspan/exspan/classify/observe/kerberos"
	"github.com/exspan/exspan/classify/observe/ldap"
	"github.com/exspan/exspan/classify/observe/nmf"
	"github.com/exspan/exspan/classify/observe/nns"
	"github.com/exspan/exspan/classify/observe/nntp"
	"github.com/exspan/exspan/classify/observe/pop3"
	"github.com/exspan/exspan/classify/observe/resvc"
	"github.com/exspan/exspan/classify/observe/rtp"
	"github.com/exspan/exspan/classify/observe/sip"
	"github.com/exspan/exspan/classify/observe/smb"
	"github.com/exspan/exspan/classify/observe/smtp"
	"github.com/exspan/exspan/classify/observe/socks"
	"github.com/exspan/exspan/classify/observe/ssh"
	"github.com/exspan/exspan/classify/observe/tls"
)

// Protocols returns every protocol that can be read, in order of priority: on
// each port those that are expected there come first, then the others in this
// order.
func Protocols() []observe.Protocol {
	return []observe.Protocol{
		dcerpc.Protocol(),
		tls.Protocol(),
		smtp.Protocol(),
		http.Protocol(),
		imap.Protocol(),
		pop3.Protocol(),
		nntp.Protocol(),
		ldap.Protocol(),
		kerberos.Protocol(),
		smb.Protocol(),
		nmf.Protocol(),
		nns.Protocol(),
		sip.Protocol(),
		h323.Protocol(),
		ssh.Protocol(),
		cotp.RDP(),
		cotp.X400(),
		cotp.T120(),
		irc.Protocol(),
		socks.Protocol(),
		resvc.Protocol(),
		dns.Protocol(),
		ipsec.IKE(),
		ipsec.ESP(),
		rtp.Protocol(),
	}
}
