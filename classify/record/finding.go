package record

// FindingID names a finding. The ids are stable and a closed list; Findings
// returns them all.
type FindingID string

// The violations: what the documentation of a data path forbids.
const (
	FindingCleartext        FindingID = "cleartext"         // the documentation promises encryption by default
	FindingAuthUnsupported  FindingID = "auth-unsupported"  // a mechanism that the documentation does not list
	FindingWeakAuth         FindingID = "weak-auth"         // a password in clear, or NTLM version 1
	FindingWeakEncryption   FindingID = "weak-encryption"   // an outdated TLS version, a weak cipher, an RPC level below integrity
	FindingProtocolMismatch FindingID = "protocol-mismatch" // another protocol than the port's
	FindingProhibited       FindingID = "prohibited"        // a firewall answered with ICMP, or is reported to have dropped packets
	FindingExternalSource   FindingID = "external-source"   // from the internet, where that is not documented
	FindingWrongDirection   FindingID = "wrong-direction"   // client and server have each other's role
	FindingRetiredProtocol  FindingID = "retired-protocol"  // a protocol that nobody should use any more
	FindingAuthMissing      FindingID = "auth-missing"      // the documentation requires a certificate of the client, and none was asked for
)

// The remarks: what the documentation allows, and an administrator may want to
// know.
const (
	FindingAuthNotDefault        FindingID = "auth-not-default"        // supported, but not the default mechanism
	FindingPortUndocumented      FindingID = "port-undocumented"       // a dynamic port outside the documented range
	FindingEndpointUnannounced   FindingID = "endpoint-unannounced"    // no endpoint mapper announced the port
	FindingAnnouncementConflict  FindingID = "announcement-conflict"   // other bytes contradict what was announced of the port
	FindingStaticPortRecommended FindingID = "static-port-recommended" // dynamic RPC through a load balancer
	FindingStaticPortUnused      FindingID = "static-port-unused"      // the endpoint mapper contradicts the site file's static port
	FindingRefused               FindingID = "refused"                 // the server refused the connection
	FindingUnanswered            FindingID = "unanswered"              // the client got no answer
)

// Findings returns every finding id: the violations, then the remarks.
func Findings() []FindingID {
	return []FindingID{
		FindingCleartext, FindingAuthUnsupported, FindingWeakAuth, FindingWeakEncryption, FindingProtocolMismatch, FindingProhibited,
		FindingExternalSource, FindingWrongDirection, FindingRetiredProtocol, FindingAuthMissing,
		FindingAuthNotDefault, FindingPortUndocumented, FindingEndpointUnannounced, FindingAnnouncementConflict, FindingStaticPortRecommended, FindingStaticPortUnused,
		FindingRefused, FindingUnanswered,
	}
}

// Statuses returns every status, the one that needs attention most first.
func Statuses() []Status { return []Status{Deviating, Unexpected, Undetermined, Unrelated, Expected} }

// Reasons returns every reason: those of unexpected flows, then those of
// undetermined ones.
func Reasons() []Reason {
	return []Reason{NoPath, WrongRole, WrongVersion, LocalOnly, NoPayload, NotBegun, Unannounced, UnknownRole, NoVersion, NoRules, Sealed, Truncated, OneDirection}
}
