package glossary

// The documents from which advice is taken.
const (
	receiveConnectors = "Set-ReceiveConnector, Exchange PowerShell reference (Microsoft)"
	popImapSettings   = "Set-PopSettings and Set-ImapSettings, Exchange PowerShell reference (Microsoft)"
	rpcClientAccess   = "Set-RpcClientAccess and Set-MailboxServer, Exchange PowerShell reference (Microsoft)"
	dialPlans         = "Configure VoIP security for a UM dial plan, Exchange Server documentation (Microsoft)"
	tlsPractices      = "Exchange Server TLS configuration best practices (Microsoft)"
	lanManager        = "Network security: LAN Manager authentication level, Windows security policy settings (Microsoft)"
	smbOne            = "Detect, enable and disable SMBv1, SMBv2 and SMBv3 in Windows (Microsoft)"
	mapPorts          = "Exchange Network Ports Reference and TechNet wiki 864, static RPC ports"
	unfiltered        = "Exchange network ports documentation (Microsoft): traffic between Exchange servers, and from them to domain controllers, must not be filtered"
)

var entries = []Entry{
	{Word: "expected", Kind: Status, Title: "As documented",
		Text: "A documented data path explains the flow, and nothing that was seen contradicts the documentation. Remarks are possible."},
	{Word: "deviating", Kind: Status, Title: "Not as documented", Severity: High,
		Text: "A documented data path explains the flow, but authentication, encryption, direction or protocol differ from its documentation. " +
			"The findings say how."},
	{Word: "unexpected", Kind: Status, Title: "No documented data path", Severity: High,
		Text: "An Exchange server takes part, and no documented data path explains the flow. The reason says what is missing. " +
			"If the flow is wanted, declare it in the site file under allow."},
	{Word: "unrelated", Kind: Status, Title: "No Exchange server takes part",
		Text: "Neither end is an Exchange server, as far as the site file and traffic tell. If one is, name it in the site file; " +
			"exspan site infer proposes one."},
	{Word: "undetermined", Kind: Status, Title: "Too little was seen",
		Text: "Too little of the flow was captured to say what it is. The reason says what is missing."},

	{Word: "no-path", Kind: Reason, Title: "No data path has this port and protocol",
		Text: "No data path of the server's Exchange version fits the port and what was read on it."},
	{Word: "wrong-role", Kind: Reason, Title: "The service is documented between other roles",
		Text: "A data path fits the port and the protocol, but not the roles of the two hosts. Either a host plays a role that is not known, " +
			"which the site file can say, or it talks to a server that it has no business with."},
	{Word: "wrong-version", Kind: Reason, Title: "Documented for another Exchange version",
		Text: "A data path of another Exchange version fits, but none of the version at hand. Check the version of the server in the site file."},
	{Word: "local-only", Kind: Reason, Title: "A port that the server uses for itself",
		Text: "The port is documented for traffic within the server. No other host should reach it."},
	{Word: "no-payload", Kind: Reason, Title: "A connection without content",
		Text: "No payload was captured, and the port is not a documented one. Port scans look so, and captures with a short snap length."},
	{Word: "not-begun", Kind: Reason, Title: "The beginning was not captured",
		Text: "The flow began before the capture did, and nothing announced its port. A capture that starts earlier, or that contains a " +
			"question to the endpoint mapper, may explain it."},
	{Word: "unannounced", Kind: Reason, Title: "A high port that nothing announced",
		Text: "Services between these two servers use high ports that cannot be told from others by their content. No endpoint mapper was " +
			"seen to announce this one, so it can be such a service or anything else."},
	{Word: "unknown-role", Kind: Reason, Title: "It depends on a role that is not known",
		Text: "A data path fits if the host that the verdict names has the right role. Add the host to the site file, with its address and " +
			"roles, or capture a connection that proves its role."},
	{Word: "unknown-version", Kind: Reason, Title: "It depends on a version that is not known",
		Text: "The version that is assumed of the server must not have this, but another version of Exchange documents it. Give the server's " +
			"version in the site file, or with --exchange where all servers have the same."},
	{Word: "no-rules", Kind: Reason, Title: "No rules for the version of the server",
		Text: "The server runs a version of Exchange whose data paths exspan does not know, such as 5.5 or Exchange Online."},

	{Word: "encrypted", Kind: Reason, Title: "IPsec",
		Text: "The hosts encrypt whatever they say to each other with IPsec (ESP). Which data paths these are cannot be seen, and coverage does " +
			"not count them. A capture within the hosts, or with ESP without encryption, shows them."},

	{Word: "truncated", Kind: Reason, Title: "The snap length cut off what would tell",
		Text: "The capture holds only the beginning of each packet, and what would tell the data path, the authentication or the encryption " +
			"was cut off. The summary names the snap length that would have taken all packets whole."},
	{Word: "one-direction", Kind: Reason, Title: "Only one direction was captured",
		Text: "The sensor saw the packets of one end alone, and what would tell the data path, the authentication or the encryption is in those " +
			"of the other. Mirror both directions of the port."},

	{Word: "weak-auth", Kind: Finding, Title: "Passwords in the clear, or NTLM version 1", Severity: Critical, Clause: "with weak authentication",
		Text: "A password crossed the network where anybody on the way can read it, or the client logged on with NTLM version 1, which is as " +
			"good as readable.",
		Advice: []Advice{
			{Protocols: []string{"imap", "pop3"}, Do: "Set-ImapSettings -LoginType SecureLogin and Set-PopSettings -LoginType SecureLogin, " +
				"which accept passwords under TLS only; then restart the two services.", Source: popImapSettings},
			{Protocols: []string{"smtp"}, Do: "On the receive connector, Set-ReceiveConnector -AuthMechanism with BasicAuthRequireTLS beside " +
				"BasicAuth, which offers basic authentication under TLS only.", Source: receiveConnectors},
			{Protocols: []string{"dcerpc", "smb", "ldap"}, Do: "For NTLM version 1, set LmCompatibilityLevel to 5 under " +
				`HKLM\SYSTEM\CurrentControlSet\Control\Lsa on servers and domain controllers, after the clients can do version 2.`, Source: lanManager},
		}},
	{Word: "auth-missing", Kind: Finding, Title: "No certificate was asked for", Severity: High, Clause: "without the certificate of the client",
		Text: "The documentation of this data path requires both ends to show a certificate (mutual TLS, direct trust). In the handshake, " +
			"which is readable up to TLS 1.2, the server did not ask the client for one, so anybody can connect.",
		Advice: []Advice{
			{Protocols: []string{"smtp"}, Do: "On the receive connector, Set-ReceiveConnector -AuthMechanism with ExchangeServer for Exchange " +
				"servers, and -RequireTLS and -DomainSecureEnabled for partners.", Source: receiveConnectors},
			{Protocols: []string{"sip", "tls"}, Do: "Set-UMDialPlan -VoIPSecurity Secured, and certificates on both ends that the other trusts.", Source: dialPlans},
		}},
	{Word: "cleartext", Kind: Finding, Title: "Not encrypted, though documented so", Severity: High, Clause: "not encrypted",
		Text: "The documentation says that this data path is encrypted by default. This flow was not: what it carried can be read on the way.",
		Advice: []Advice{
			{Protocols: []string{"imap", "pop3"}, Do: "Set-ImapSettings -LoginType SecureLogin and Set-PopSettings -LoginType SecureLogin, " +
				"so that clients have to use TLS.", Source: popImapSettings},
			{Protocols: []string{"smtp"}, Do: "Give the server a certificate for SMTP, and make the receive connector ask for TLS: " +
				"Set-ReceiveConnector -RequireTLS $true.", Source: receiveConnectors},
			{Protocols: []string{"dcerpc"}, Outlook: true, Do: "Set-RpcClientAccess -Server NAME -EncryptionRequired $true (Exchange 2010 and later), or " +
				"Set-MailboxServer NAME -MAPIEncryptionRequired $true (2007 and Mailbox servers), for Outlook.", Source: rpcClientAccess},
			{Protocols: []string{"sip", "rtp", "rtcp"}, Do: "Set-UMDialPlan -VoIPSecurity Secured (SIP and media) or SIPSecured (SIP alone).",
				Source: dialPlans},
		}},
	{Word: "auth-unsupported", Kind: Finding, Title: "Authentication that the path does not document", Severity: Medium, Clause: "with undocumented authentication",
		Text: "The client authenticated in a way that the documentation of this data path does not list, or not at all."},
	{Word: "weak-encryption", Kind: Finding, Title: "Outdated encryption", Severity: Medium, Clause: "with outdated encryption",
		Text: "The flow is encrypted or signed, but with a TLS version, a cipher or an RPC level that is no longer considered safe.",
		Advice: []Advice{
			{Protocols: []string{"dcerpc"}, Outlook: true, Do: "Set-RpcClientAccess -Server NAME -EncryptionRequired $true (Exchange 2010 and later), or " +
				"Set-MailboxServer NAME -MAPIEncryptionRequired $true (2007 and Mailbox servers), for Outlook.", Source: rpcClientAccess},
			{Do: `Disable TLS 1.0 and 1.1 under HKLM\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols, once every ` +
				"client can do TLS 1.2.", Source: tlsPractices},
		}},
	{Word: "protocol-mismatch", Kind: Finding, Title: "Another protocol than the port's", Severity: High, Clause: "with another protocol",
		Text: "The port belongs to a documented data path, but something else was spoken on it."},
	{Word: "prohibited", Kind: Finding, Title: "Rejected by a firewall", Severity: High, Clause: "rejected by a firewall",
		Text:   "A router or firewall answered that the connection is administratively prohibited (ICMP). The data path does not work.",
		Advice: []Advice{{Do: "Allow the port on the way.", Source: unfiltered}}},
	{Word: "external-source", Kind: Finding, Title: "From the internet, where that is not documented", Severity: High, Clause: "from the internet",
		Text: "The client has a public address that the site file does not name, and this data path is documented for clients inside only."},
	{Word: "wrong-direction", Kind: Finding, Title: "Client and server are the wrong way round", Severity: Medium, Clause: "the wrong way round",
		Text: "The data path is documented from the role of the server to that of the client."},
	{Word: "retired-protocol", Kind: Finding, Title: "A retired protocol", Severity: Medium, Clause: "with a retired protocol",
		Text: "The flow uses a protocol version that its maker has withdrawn.",
		Advice: []Advice{{Protocols: []string{"smb"}, Do: "Set-SmbServerConfiguration -EnableSMB1Protocol $false, once no client needs SMB 1.",
			Source: smbOne}}},
	{Word: "auth-not-default", Kind: Finding, Title: "Supported authentication, but not the default one", Severity: Low, Clause: "without the default authentication",
		Text: "The documentation lists the mechanism as supported, not as the default. That may be intended."},
	{Word: "port-undocumented", Kind: Finding, Title: "A dynamic port outside the documented range", Severity: Low, Clause: "outside the documented ports",
		Text:   "The server listens on a dynamic port outside the range that Exchange setup configures. Another program may have moved the range.",
		Advice: []Advice{{Do: "Look at the range: netsh int ipv4 show dynamicport tcp.", Source: mapPorts}}},
	{Word: "announcement-conflict", Kind: Finding, Title: "Other bytes contradict the announcement", Severity: Medium, Clause: "whose announcement other bytes contradict",
		Text: "The verdict rests on what was announced of the port, and something else that was seen contradicts it: a second answer " +
			"in the place of the first, a server that rejects the service, or one that sends another protocol. Both are kept. The service " +
			"moved to another port, or somebody forges packets."},
	{Word: "endpoint-unannounced", Kind: Finding, Title: "No endpoint mapper announced the port", Severity: Low, Clause: "on an unannounced port",
		Text: "The service was recognised by what the client bound, but no endpoint mapper was seen to announce its port."},
	{Word: "static-port-recommended", Kind: Finding, Title: "Dynamic RPC through a load balancer", Severity: Low, Clause: "that want a static port",
		Text: "RPC with a dynamic port passes a load balancer, which needs a static one.",
		Advice: []Advice{{Do: `On each Exchange 2010 Client Access server, set "TCP/IP Port" (REG_DWORD) under HKLM\SYSTEM\CurrentControlSet\` +
			`Services\MSExchangeRPC\ParametersSystem and RpcTcpPort (REG_SZ) under ...\MSExchangeAB\Parameters to ports from 59531 to 60554.`,
			Source: mapPorts}}},
	{Word: "static-port-unused", Kind: Finding, Title: "Not on the static port of the site file", Severity: Low, Clause: "not on their static port",
		Text: "The site file names a static port for the service, and the endpoint mapper announces another one: the port is not pinned, the " +
			"service was not restarted since, or the site file is out of date.",
		Advice: []Advice{{Do: "Compare the registry setting on the server with the site file. A changed port takes effect when the service is " +
			"restarted.", Source: mapPorts}}},
	{Word: "refused", Kind: Finding, Title: "Refused by the server", Severity: Low, Clause: "refused",
		Text: "The server answered the connection with a reset or port unreachable: nothing listens there, or a host firewall rejects it."},
	{Word: "unanswered", Kind: Finding, Title: "Never answered", Severity: Low, Clause: "unanswered",
		Text: "The client tried, and no answer came: the server is down, or a firewall on the way drops the packets."},

	{Word: "port", Kind: Confidence, Title: "Port and roles only",
		Text: "The weakest grade: the port fits and the hosts have the documented roles. Nothing that was read confirms it."},
	{Word: "pattern", Kind: Confidence, Title: "The content fits",
		Text: "The protocol was recognised and fits the data path, but nothing announced the port."},
	{Word: "learned", Kind: Confidence, Title: "The server's port was announced",
		Text: "An endpoint mapper, an SDP body, another client's bind or the site file announced the service on this port."},
	{Word: "observed", Kind: Confidence, Title: "Read on this flow",
		Text: "The strongest grade: the service itself was read on this flow."},

	{Word: "answered", Kind: Outcome, Title: "Both ends sent", Text: "The connection was made: both ends sent."},
	{Word: "refused", Kind: Outcome, Title: "Refused", Text: "The server answered the first packet with a reset or port unreachable."},
	{Word: "unanswered", Kind: Outcome, Title: "No answer", Text: "Two or more connection attempts, or three seconds of waiting, without an answer."},
	{Word: "incomplete", Kind: Outcome, Title: "Cut off by the end of the capture",
		Text: "The client began, and the capture ended before an answer was due."},
	{Word: "prohibited", Kind: Outcome, Title: "Prohibited", Text: "A firewall answered that the connection is administratively prohibited (ICMP)."},
	{Word: "blocked", Kind: Outcome, Title: "Tried in vain", Text: "Stands for refused, unanswered and prohibited together: an Exchange server takes part, the client tried, " +
		"and no connection came about. --finding and --fail-on take the word."},
	{Word: "midstream", Kind: Outcome, Title: "Began before the capture", Text: "The beginning was not captured."},
	{Word: "one-way", Kind: Outcome, Title: "One direction only",
		Text: "This sensor never sees packets from that server to that client, so nothing is called blocked. The SPAN port may mirror one direction only."},
}
