// Code generated from the packs by rules/gen. DO NOT EDIT.

package rules

// builtin holds the packs that are built in, in order.
var builtin = []*Pack{
	{Name: "exchange", Interfaces: []Interface{
		{UUID: "a4f1db00-ca47-1067-b31f-00dd010662da", Version: "0.81", Name: "emsmdb", Title: "EMSMDB (MAPI store access)", Service: "2000-2007: store.exe (MSExchangeIS). 2010: MSExchangeRPC (RpcClientAccess) on CAS and Mailbox. 2013+: RpcClientAccess, ncacn_http 6001 only", Source: "learn.microsoft.com ms-oxcrpc 1.9 / 2.1; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; openchange/openchange exchange.idl; zeek trace mapi.pcap", Confidence: "high"},
		{UUID: "5261574a-4572-206e-b268-6b199213b4e4", Version: "0.1", Name: "asyncemsmdb", Title: "AsyncEMSMDB (notification long poll)", Service: "same process as EMSMDB, Exchange 2007+", Source: "learn.microsoft.com ms-oxcrpc 1.9 / 2.1; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; openchange asyncemsmdb.idl", Confidence: "high"},
		{UUID: "f5cc5a18-4264-101a-8c59-08002b2f8426", Version: "56.0", Name: "nspi", Title: "NSPI (address book)", Service: "2000-2007: DSProxy in System Attendant (mad.exe) or the GC itself (lsass). 2010: MSExchangeAB on CAS. 2013+: RpcClientAccess over ncacn_http. Also any GC (lsass)", Source: "ms-oxnspi 2.1; ms-nspi; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; openchange/openchange exchange.idl; zeek trace mapi.pcap", Confidence: "high"},
		{UUID: "1544f5e0-613c-11d1-93df-00c04fd7bd09", Version: "1.0", Name: "rfr", Title: "RFR / RFRI (directory referral)", Service: "2000-2007: System Attendant (mad.exe). 2010: MSExchangeAB on CAS. 2013+: RpcClientAccess over ncacn_http", Source: "ms-oxabref; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; impacket oxabref.py; openchange/openchange exchange.idl", Confidence: "high"},
		{UUID: "99e64010-b032-11d0-97a4-00c04fd6551d", Version: "3.0", Name: "storeadmin3", Title: "Store admin interface (newest of three)", Service: "store.exe (MSExchangeIS)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "high"},
		{UUID: "89742ace-a9ed-11cf-9c0c-08002be7ae86", Version: "2.0", Name: "storeadmin2", Title: "Store admin interface", Service: "store.exe (MSExchangeIS)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "high"},
		{UUID: "a4f1db00-ca47-1067-b31e-00dd010662da", Version: "1.0", Name: "storeadmin1", Title: "Store admin interface (oldest)", Service: "store.exe (MSExchangeIS)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "high"},
		{UUID: "0e4a0156-dd5d-11d2-8c2f-00c04fb6bcde", Version: "1.0", Name: "storeinfo1", Title: "Microsoft Information Store (annotation only)", Service: "store.exe", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "1453c42c-0fa6-11d2-a910-00c04f990f3b", Version: "1.0", Name: "storeinfo2", Title: "Microsoft Information Store (annotation only)", Service: "store.exe", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "10f24e8e-0fa6-11d2-a910-00c04f990f3b", Version: "1.0", Name: "storeinfo3", Title: "Microsoft Information Store (annotation only)", Service: "store.exe", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "9e8ee830-4459-11ce-979b-00aa005ffebe", Version: "2.0", Name: "mta", Title: "Exchange MTA (Mta interface; opnum 0 MtaBind, 1 MtaBindBack)", Service: "emsmta.exe (MSExchangeMTA), 4.0-2003", Source: "Microsoft KB Q159298 trace; hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "high"},
		{UUID: "9e8ee830-4559-11ce-979b-00aa005ffebe", Version: "2.0", Name: "mta-misprint", Title: "misprint of the MTA uuid (4559 for 4459)", Service: "none: only in openchange exchange.idl", Source: "openchange/openchange exchange.idl against Microsoft KB Q159298", Confidence: "low"},
		{UUID: "38a94e72-a9bc-11d2-8faf-00c04fa378ff", Version: "1.0", Name: "mtaqadmin", Title: "Exchange MTA QAdmin (queue admin)", Service: "emsmta.exe", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl", Confidence: "high"},
		{UUID: "83d72bf0-0d89-11ce-b13f-00aa003bac6c", Version: "6.0", Name: "sysatt-private", Title: "System Attendant private interface", Service: "mad.exe (MSExchangeSA)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl (comment)", Confidence: "medium"},
		{UUID: "469d6ec0-0d87-11ce-b13f-00aa003bac6c", Version: "16.0", Name: "sysatt-public", Title: "System Attendant public interface", Service: "mad.exe (MSExchangeSA)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl", Confidence: "medium"},
		{UUID: "f930c514-1215-11d3-99a5-00a0c9b61b04", Version: "1.0", Name: "sysatt-cluster", Title: "System Attendant cluster interface", Service: "mad.exe (MSExchangeSA)", Source: "hsc.fr msrpc_exchange.html (J-B Marchand, Exchange 2000 endpoint list); Tenable DCE Services Enumeration list; openchange/openchange exchange.idl", Confidence: "medium"},
		{UUID: "f5cc5a7c-4264-101a-8c59-08002b2f8426", Version: "21.0", Name: "xds", Title: "XDS (extended directory service)", Service: "Exchange 5.5 directory; Windows DCs with the GC role (lsass)", Source: "hsc.fr msrpc_exchange_ad.html; Tenable DCE Services Enumeration list; openchange/openchange exchange.idl; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "high"},
		{UUID: "f5cc59b4-4264-101a-8c59-08002b2f8426", Version: "21.0", Name: "exchange-drs", Title: "Exchange 5.5 directory replication (DRS)", Service: "Exchange 5.5 directory service / SRS", Source: "openchange/openchange exchange.idl; rpcdump sample from the Windows resource kit", Confidence: "high"},
		{UUID: "c840a7dc-42c0-1a10-b4b9-08002b2fe182", Version: "?", Name: "exchange-unknown", Title: "unknown interface listed by openchange", Service: "unknown", Source: "openchange/openchange exchange.idl", Confidence: "low"},
		{UUID: "8cfb5d70-31a4-11cf-a7d8-00805f48a135", Version: "3.0", Name: "smtpsvc", Title: "SMTP service admin", Service: "inetinfo.exe (SMTPSVC)", Source: "Tenable DCE Services Enumeration list; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "4f82f460-0e21-11cf-909e-00805f48a135", Version: "4.0", Name: "nntpsvc", Title: "NNTP service admin", Service: "inetinfo.exe", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
		{UUID: "2465e9e0-a873-11d0-930b-00a0c90ab17c", Version: "3.0", Name: "imap4svc", Title: "IMAP4 service admin", Service: "inetinfo.exe", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
		{UUID: "1be617c0-31a5-11cf-a7d8-00805f48a135", Version: "3.0", Name: "pop3svc", Title: "POP3 service admin", Service: "inetinfo.exe", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
	}, Evidence: []RoleEvidence{
		{Roles: []Role{"mailbox", "cas"}, End: "server", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}},
		}, Note: "serves the mailbox store interface", Source: "[MS-OXCRPC] 2.1: the information store to 2007, RPC Client Access on Client Access and Mailbox servers in 2010"},
		{Roles: []Role{"mailbox"}, End: "server", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"storeadmin3", "storeadmin2", "storeadmin1", "sysatt-private", "sysatt-public", "sysatt-cluster"}}},
		}, Note: "serves an interface of the information store or the System Attendant", Source: "hsc.fr msrpc_exchange.html; openchange/openchange exchange.idl"},
		{Roles: []Role{"cas"}, End: "server", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"rfr"}}},
		}, Note: "refers clients to an address book", Source: "[MS-OXABREF]; in 2010 the Address Book service of Client Access"},
		{Roles: []Role{"cas", "gc"}, End: "server", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"nspi"}}},
		}, Note: "serves the address book", Source: "[MS-OXNSPI] 2.1: the Address Book service of Client Access in 2010, and every global catalog"},
		{Roles: []Role{"mailbox", "cas"}, End: "server", Any: []Match{
			{Protocol: "dcerpc", Facts: map[string][]string{"kerberos.service": {"exchangeMDB/*", "exchangeRFR/*", "exchangeAB/*"}}},
			{Protocol: "dcerpc", Facts: map[string][]string{"ntlm.service": {"exchangeMDB/*", "exchangeRFR/*", "exchangeAB/*"}}},
		}, Note: "called by a service principal of Exchange", Source: "service principals registered by Exchange servers (microsoft/CSS-Exchange, GetExchangeServerADInformation.xml)"},
		{Roles: []Role{"client"}, End: "client", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "nspi", "rfr"}}},
		}, Weak: true, Note: "calls a mailbox or address book interface; servers do too", Source: "[MS-OXCRPC] 1.3"},
		{Roles: []Role{"pbx", "ocs"}, End: "client", Any: []Match{
			{Protocol: "sip", Facts: map[string][]string{"sip.method": {"INVITE"}}},
		}, Weak: true, Note: "invites to a call", Source: "RFC 3261 section 13; the reference's paths into Unified Messaging"},
		{Roles: []Role{"hub", "edge"}, End: "server", Any: []Match{
			{Protocol: "smtp", Facts: map[string][]string{"smtp.keywords": {"X-EXPS", "X-EXPS=LOGIN", "X-ANONYMOUSTLS", "XEXCH50", "XRDST"}}},
		}, Note: "offers SMTP verbs that only Exchange has", Source: "KB 812455; Exchange documentation, test-smtp-with-telnet"},
		{Roles: []Role{"hub", "edge"}, End: "server", Any: []Match{
			{Protocol: "smtp", Facts: map[string][]string{"smtp.keywords": {"XSHADOW"}}},
		}, Version: "2010", Note: "advertises shadow redundancy, which 2013 and later do not", Source: "Exchange documentation, shadow-redundancy; nmap scan of an Exchange 2010 server"},
		{Roles: []Role{"mailbox"}, End: "server", Any: []Match{
			{Protocol: "smtp", Facts: map[string][]string{"smtp.keywords": {"X-LINK2STATE", "X-LSA-2"}}},
		}, Version: "2003", Note: "exchanges link state, which ended with 2003 (2000 and 2003 look alike)", Source: "KB 812455"},
		{Roles: []Role{"hub", "edge"}, End: "server", Any: []Match{
			{Protocol: "smtp", Facts: map[string][]string{"smtp.banner": {"*Microsoft ESMTP MAIL Service ready*"}}},
		}, Note: "banner of Exchange 2007 and later; that of IIS has a version number", Source: "rapid7/recog smtp_banners.xml; Exchange documentation, modify-smtp-banners"},
		{Roles: []Role{"cas"}, End: "server", Any: []Match{
			{Protocol: "imap", Facts: map[string][]string{"imap.banner": {"*The Microsoft Exchange IMAP4 service is ready*"}}},
			{Protocol: "pop3", Facts: map[string][]string{"pop3.banner": {"*The Microsoft Exchange POP3 service is ready*"}}},
		}, Note: "banner of Exchange 2010 and later", Source: "rapid7/recog imap_banners.xml, pop_banners.xml; nmap/nmap nmap-service-probes"},
		{Roles: []Role{"cas"}, End: "server", Any: []Match{
			{Protocol: "imap", Facts: map[string][]string{"imap.banner": {"*Microsoft Exchange Server 2007 IMAP4 service ready*"}}},
			{Protocol: "pop3", Facts: map[string][]string{"pop3.banner": {"*Microsoft Exchange Server 2007 POP3 service ready*"}}},
		}, Version: "2007", Note: "banner of Exchange 2007", Source: "rapid7/recog imap_banners.xml, pop_banners.xml; nmap/nmap nmap-service-probes"},
		{Roles: []Role{"mailbox"}, End: "server", Any: []Match{
			{Protocol: "imap", Facts: map[string][]string{"imap.banner": {"*Microsoft Exchange Server 2003 IMAP4rev1 server*", "*Microsoft Exchange 2000 IMAP4rev1 server*"}}},
			{Protocol: "pop3", Facts: map[string][]string{"pop3.banner": {"*Microsoft Exchange Server 2003 POP3 server*", "*Microsoft Exchange 2000 POP3 server*"}}},
		}, Version: "2003", Note: "banner of Exchange 2000 or 2003, whose data paths are listed together", Source: "rapid7/recog imap_banners.xml, pop_banners.xml; nmap/nmap nmap-service-probes"},
		{Roles: []Role{"cas"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.version": {"8.*"}}},
		}, Version: "2007", Note: "answers with the build number of Exchange 2007", Source: "headers X-OWA-Version and MS-Server-ActiveSync ([MS-ASHTTP])"},
		{Roles: []Role{"cas"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.version": {"14.*"}}},
		}, Version: "2010", Note: "answers with the build number of Exchange 2010", Source: "headers X-OWA-Version and MS-Server-ActiveSync ([MS-ASHTTP])"},
		{Roles: []Role{"mailbox", "cas"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.version": {"15.0*"}}},
		}, Version: "2013", Note: "answers with the build number of Exchange 2013", Source: "headers X-OWA-Version and MS-Server-ActiveSync ([MS-ASHTTP])"},
		{Roles: []Role{"mailbox"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.version": {"15.1*"}}},
		}, Version: "2016", Note: "answers with the build number of Exchange 2016", Source: "headers X-OWA-Version and MS-Server-ActiveSync ([MS-ASHTTP]); microsoft/CSS-Exchange"},
		{Roles: []Role{"mailbox"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.version": {"15.2*"}}},
		}, Note: "answers with the build number of Exchange 2019, which Subscription Edition shares", Source: "headers X-OWA-Version and MS-Server-ActiveSync ([MS-ASHTTP])"},
		{Roles: []Role{"mailbox", "cas"}, End: "server", Any: []Match{
			{Protocol: "http", Facts: map[string][]string{"exchange.role": {"frontend", "backend"}}},
		}, Note: "names the server behind a web site, as 2013 and later do", Source: "headers X-FEServer and X-BEServer (web.config files in microsoft/CSS-Exchange)"},
		{Roles: []Role{"um"}, End: "server", Any: []Match{
			{Protocol: "sip", Facts: map[string][]string{"sip.server": {"*UnifiedMessaging*"}}},
		}, Weak: true, Note: "names Unified Messaging in its Server header (wording from one weak source)", Source: "RFC 3261, section 20.35"},
	}},
	{Name: "policy", Policy: &Policy{Weak: []Weakness{
		{ID: "ntlm-1", Finding: "weak-auth", Fact: "ntlm.version", Values: []string{"1"}, Text: "NTLM version 1", Grades: []Grade{
			{Level: "violation", Source: "[MS-NLMP] 5.1, security considerations for implementers"},
		}},
		{ID: "tls-old", Finding: "weak-encryption", Fact: "tls.version", Values: []string{"ssl2", "ssl3", "1.0", "1.1"}, Text: "TLS version {value}", Grades: []Grade{
			{Level: "violation", Source: "RFC 6176 (SSL 2.0); RFC 7568 (SSL 3.0); RFC 8996 (TLS 1.0 and 1.1)"},
		}},
		{ID: "tls-cipher", Finding: "weak-encryption", Fact: "tls.cipher", Values: []string{"*_RC4_*", "*_NULL_*", "*_EXPORT_*", "*_DES_*"}, Text: "cipher {value}", Grades: []Grade{
			{Level: "violation", Source: "RFC 7465 (RC4); RFC 5469 (DES); RFC 9325 section 4.1 (NULL and export suites)"},
		}},
		{ID: "rpc-level", Finding: "weak-encryption", Fact: "rpc.auth_level", Values: []string{"connect", "call", "packet"}, Text: "RPC authentication level {value} is below integrity", Encryption: "rpc", Grades: []Grade{
			{Level: "violation", Source: "[MS-RPCE] 2.2.1.1.8"},
		}},
		{ID: "smb-1", Finding: "retired-protocol", Fact: "smb.version", Values: []string{"1*"}, Text: "SMB 1", Grades: []Grade{
			{Level: "violation", Source: "[MS-SMB] 1.6, superseded by [MS-SMB2]"},
		}},
	}, ExchangeRoles: []Role{"hub", "edge", "mailbox", "mailbox-legacy", "cas", "um"}, Answering: []string{"dns", "kerberos", "sip", "dcerpc", "ldap"}, Announced: []Announced{
		{By: []string{"ept_map", "ept_lookup", "bind", "site"}, Protocol: "dcerpc"},
		{By: []string{"sdp"}, Protocol: "rtp"},
	}}},
	{Name: "windows", Interfaces: []Interface{
		{UUID: "f5cc59b4-4264-101a-8c59-08002b2f8426", Version: "1.1", Name: "frsrpc", Title: "FrsRpc (file replication)", Service: "ntfrs.exe on DCs", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "high"},
		{UUID: "82ad4280-036b-11cf-972c-00aa006887b0", Version: "2.0", Name: "inetinfo", Title: "IIS admin (inetinfo)", Service: "inetinfo.exe", Source: "Tenable DCE Services Enumeration list; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "medium"},
		{UUID: "e1af8308-5d1f-11c9-91a4-08002b14a0fa", Version: "3.0", Name: "epmapper", Title: "epmapper", Service: "RpcSs / RpcEptMapper on every Windows host, 135/tcp, 135/udp, 593/tcp, \\pipe\\epmapper", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; ms-rpce 2.2.1.2", Confidence: "high"},
		{UUID: "afa8bd80-7d8a-11c9-bef4-08002b102989", Version: "1.0", Name: "mgmt", Title: "mgmt (RPC management)", Service: "any RPC server", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "high"},
		{UUID: "8a885d04-1ceb-11c9-9fe8-08002b104860", Version: "2.0", Name: "ndr", Title: "NDR32 transfer syntax (not an interface)", Source: "ms-rpce 2.2.4.12", Confidence: "high"},
		{UUID: "71710533-beba-4937-8319-b5dbef9ccc36", Version: "1.0", Name: "ndr64", Title: "NDR64 transfer syntax (not an interface)", Source: "ms-rpce 2.2.5.1", Confidence: "high"},
		{UUID: "6cb71c2c-9812-4540-0000-000000000000", Version: "1.0", Name: "btfn", Title: "bind-time feature negotiation pseudo transfer syntax (first 8 bytes fixed, last 8 a bitmask)", Source: "ms-rpce 2.2.2.14, 3.3.1.5.3; zeek traces kerberos135_auth, dce_rpc_ntlm", Confidence: "high"},
		{UUID: "12345678-1234-abcd-ef00-01234567cffb", Version: "1.0", Name: "netlogon", Title: "netlogon", Service: "lsass on DCs and members", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; impacket nrpc.py", Confidence: "high"},
		{UUID: "e3514235-4b06-11d1-ab04-00c04fc2dcd2", Version: "4.0", Name: "drsuapi", Title: "drsuapi", Service: "lsass on DCs", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; impacket drsuapi.py", Confidence: "high"},
		{UUID: "7c44d7d4-31d5-424c-bd5e-2b3e1f323d22", Version: "1.0", Name: "dsaop", Title: "dsaop", Service: "lsass on DCs", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "high"},
		{UUID: "12345778-1234-abcd-ef00-0123456789ab", Version: "0.0", Name: "lsarpc", Title: "lsarpc", Service: "lsass", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "12345778-1234-abcd-ef00-0123456789ac", Version: "1.0", Name: "samr", Title: "samr", Service: "lsass", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "3919286a-b10c-11d0-9ba8-00c04fd92ef5", Version: "0.0", Name: "dssetup", Title: "dssetup", Service: "lsass", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; ms-dssp 2.1", Confidence: "high"},
		{UUID: "ecec0d70-a603-11d0-96b1-00a0c91ece30", Version: "1.0|2.0", Name: "ntdsbackup", Title: "directory (ESE) backup", Service: "lsass on DCs", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
		{UUID: "16e0cf3a-a604-11d0-96b1-00a0c91ece30", Version: "1.0|2.0", Name: "ntdsrestore", Title: "directory (ESE) restore", Service: "lsass on DCs", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
		{UUID: "1cbcad78-df0b-4934-b558-87839ea501c9", Version: "0.0", Name: "dsrole", Title: "DsRole", Service: "lsass", Source: "Tenable DCE Services Enumeration list; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "medium"},
		{UUID: "338cd001-2244-31f1-aaaa-900038001003", Version: "1.0", Name: "winreg", Title: "winreg (remote registry)", Service: "svchost (RemoteRegistry), usually \\pipe\\winreg over 445", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "high"},
		{UUID: "367abb81-9844-35f1-ad32-98f038001003", Version: "2.0", Name: "svcctl", Title: "svcctl", Service: "services.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "4b324fc8-1670-01d3-1278-5a47bf6ee188", Version: "3.0", Name: "srvsvc", Title: "srvsvc", Service: "svchost (LanmanServer)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "6bffd098-a112-3610-9833-46c3f87e345a", Version: "1.0", Name: "wkssvc", Title: "wkssvc", Service: "svchost (LanmanWorkstation)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "82273fdc-e32a-18c3-3f78-827929dc23ea", Version: "0.0", Name: "eventlog", Title: "eventlog", Service: "svchost", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "f6beaff7-1e19-4fbb-9f8f-b89e2018337c", Version: "1.0", Name: "eventlog6", Title: "IEventService (EventLog 6)", Service: "svchost", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "1ff70682-0a51-30e8-076d-740be8cee98b", Version: "1.0", Name: "atsvc", Title: "atsvc", Service: "svchost (Schedule)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "86d35949-83c9-4044-b424-db363231fd0c", Version: "1.0", Name: "tsch", Title: "ITaskSchedulerService", Service: "svchost (Schedule)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "4fc742e0-4a10-11cf-8273-00aa004ae673", Version: "3.0", Name: "netdfs", Title: "netdfs", Service: "dfssvc / DCs", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "50abc2a4-574d-40b3-9d66-ee4fd5fba076", Version: "5.0", Name: "dnsserver", Title: "dnsserver", Service: "dns.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "8fb6d884-2388-11d0-8c35-00c04fda2795", Version: "4.1", Name: "w32time", Title: "w32time", Service: "svchost", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "d049b186-814f-11d1-9a3c-00c04fc9b232", Version: "1.1", Name: "frsapi", Title: "NtFrsApi", Service: "ntfrs.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "a00c021c-2be2-11d2-b678-0000f87a8f8e", Version: "1.0", Name: "perffrs", Title: "PerfFRS", Service: "ntfrs.exe", Source: "fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "897e2e5f-93f3-4376-9c9c-fd2277495c27", Version: "1.0", Name: "frstrans", Title: "FrsTransport (DFSR)", Service: "dfsrs.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "68dcd486-669e-11d1-ab0c-00c04fc2dcd2", Version: "1.0|2.0", Name: "ismapi", Title: "Intersite messaging", Service: "ismserv.exe", Source: "Tenable DCE Services Enumeration list", Confidence: "medium"},
		{UUID: "130ceefb-e466-11d1-b78b-00c04fa32883", Version: "2.0", Name: "ismip", Title: "ISM IP transport", Service: "ismserv.exe", Source: "Tenable DCE Services Enumeration list; fortra/impacket impacket/examples/rpcdatabase.py", Confidence: "medium"},
		{UUID: "b97db8b2-4c63-11cf-bff6-08002be23f2f", Version: "2.0", Name: "clusapi2", Title: "clusapi 2.0 (Windows 2000-2003 clusters; RPC over UDP)", Service: "clussvc.exe", Source: "ms-cmrp 2.1; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "b97db8b2-4c63-11cf-bff6-08002be23f2f", Version: "3.0", Name: "clusapi", Title: "clusapi 3.0 (Windows 2008+; RPC over TCP, SPNEGO, privacy mandatory)", Service: "clussvc.exe", Source: "ms-cmrp 2.1; zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "52c80b95-c1ad-4240-8d89-72e9fa84025e", Version: "?", Name: "clusconfig", Title: "cluster configuration (MC-CCFG, DCOM)", Service: "clussvc.exe", Source: "fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "medium"},
		{UUID: "ccd8c074-d0e5-4a40-92b4-d074faa6ba28", Version: "1.1", Name: "witness", Title: "Witness (SMB witness)", Service: "svchost / cluster", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "99fcfec4-5260-101b-bbcb-00aa0021347a", Version: "0.0", Name: "iobjectexporter", Title: "IObjectExporter", Service: "RpcSs 135/tcp", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57", Version: "0.0", Name: "iactivation", Title: "IActivation (remote activation)", Service: "RpcSs 135/tcp", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "000001a0-0000-0000-c000-000000000046", Version: "0.0", Name: "iremotescmactivator", Title: "IRemoteSCMActivator", Service: "RpcSs 135/tcp", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; zeek trace kerberos135_auth", Confidence: "high"},
		{UUID: "00000131-0000-0000-c000-000000000046", Version: "0.0", Name: "iremunknown", Title: "IRemUnknown", Service: "any DCOM server", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "00000143-0000-0000-c000-000000000046", Version: "0.0", Name: "iremunknown2", Title: "IRemUnknown2", Service: "any DCOM server", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; zeek trace dce_rpc_ntlm", Confidence: "high"},
		{UUID: "f309ad18-d86a-11d0-a075-00c04fb68820", Version: "0.0", Name: "iwbemlevel1login", Title: "IWbemLevel1Login", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "9556dc99-828c-11cf-a37e-00aa003240c7", Version: "0.0", Name: "iwbemservices", Title: "IWbemServices", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "d4781cd6-e5d3-44df-ad94-930efe48a887", Version: "0.0", Name: "iwbemloginclientid", Title: "IWbemLoginClientID", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "027947e1-d731-11ce-a357-000000000001", Version: "0.0", Name: "ienumwbemclassobject", Title: "IEnumWbemClassObject", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "1c1c45ee-4395-11d2-b60b-00104b703efd", Version: "0.0", Name: "iwbemfetchsmartenum", Title: "IWbemFetchSmartEnum", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "423ec01e-2e35-11d2-b604-00104b703efd", Version: "0.0", Name: "iwbemwcosmartenum", Title: "IWbemWCOSmartEnum", Service: "svchost (winmgmt)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "70b51430-b6ca-11d0-b9b9-00a0c922e750", Version: "0.0", Name: "imsadminbasew", Title: "IMSAdminBaseW (IIS metabase)", Service: "inetinfo.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; fortra/impacket impacket/dcerpc/v5/epm.py", Confidence: "high"},
		{UUID: "fdb3a030-065f-11d1-bb9b-00a024ea5525", Version: "1.0", Name: "qmcomm", Title: "qmcomm (MSMQ)", Service: "mqsvc.exe (1801/2103/2105/2107 seen on a 2013+ host)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek; Tenable DCE Services Enumeration list", Confidence: "high"},
		{UUID: "1088a980-eae5-11d0-8d9b-00a02453c337", Version: "1.0", Name: "qm2qm", Title: "qm2qm (MSMQ)", Service: "mqsvc.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "906b0ce0-c70b-1067-b317-00dd010662da", Version: "1.0", Name: "ixnremote", Title: "IXnRemote (MSDTC)", Service: "msdtc.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "da5a86c5-12c2-4943-ab30-7f74a813d853", Version: "2.0", Name: "perflibv2", Title: "PerflibV2", Service: "svchost (RemoteRegistry)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "6b5bdd1e-528c-422c-af8c-a4079be4fe48", Version: "1.0", Name: "remotefw", Title: "RemoteFW", Service: "svchost (mpssvc)", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
		{UUID: "12345678-1234-abcd-ef00-0123456789ab", Version: "1.0", Name: "spoolss", Title: "spoolss", Service: "spoolsv.exe", Source: "zeek/zeek scripts/base/protocols/dce-rpc/consts.zeek", Confidence: "high"},
	}, Evidence: []RoleEvidence{
		{Roles: []Role{"dc"}, End: "server", Any: []Match{
			{Protocol: "kerberos", Facts: map[string][]string{"kerberos.message": {"as-rep", "tgs-rep"}}},
		}, Note: "issues Kerberos tickets", Source: "RFC 4120, section 3; [MS-KILE]"},
		{Roles: []Role{"dc"}, End: "server", Any: []Match{
			{Facts: map[string][]string{"rpc.interface": {"drsuapi", "dsaop"}}},
			{Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon"}}},
		}, Note: "serves directory replication, or the net logon interface over TCP", Source: "[MS-DRSR] 2.1; [MS-NRPC] 2.1"},
		{Roles: []Role{"dc"}, End: "server", Any: []Match{
			{Protocol: "ldap", Facts: map[string][]string{"ldap.cldap": {"netlogon"}}},
		}, Note: "answers the ping that finds domain controllers (LDAP over UDP)", Source: "[MS-ADTS] 6.3.3, LDAP ping"},
		{Roles: []Role{"dc"}, End: "server", Any: []Match{
			{Protocol: "ldap", Facts: map[string][]string{"ldap.base": {"*CN=Configuration,DC=*"}}},
		}, Note: "holds the configuration naming context of a forest", Source: "[MS-ADTS]: CN=Configuration below the root domain is a naming context of Active Directory"},
		{Roles: []Role{"gc"}, End: "server", Any: []Match{
			{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"},
		}, Note: "LDAP read on the port of the global catalog", Source: "[MS-ADTS]: 3268 and 3269 are the global catalog"},
		{Roles: []Role{"dc"}, End: "server", Any: []Match{
			{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"},
		}, Note: "LDAP read on the port of the global catalog, which only domain controllers have", Source: "[MS-ADTS]: 3268 and 3269 are the global catalog"},
		{Roles: []Role{"gc"}, End: "server", Any: []Match{
			{Protocol: "ldap", Facts: map[string][]string{"kerberos.service": {"GC/*"}}},
			{Protocol: "ldap", Facts: map[string][]string{"ntlm.service": {"GC/*"}}},
		}, Note: "called by the service principal of a global catalog", Source: "[MS-ADTS]: service principal names ldap/ and GC/"},
		{Roles: []Role{"dns"}, End: "server", Any: []Match{
			{Protocol: "dns"},
		}, Note: "answers name queries", Source: "RFC 1035"},
	}},
	{Name: "exchange2010", Version: "2010", Paths: []DataPath{
		{ID: "2010.transport.hub-hub", Version: "2010", Name: "Hub Transport to Hub Transport", Table: "transport", Group: "2010.transport.hub-hub", From: []Role{"hub"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.hub-hub"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Note: "self-signed certificates by default; may be disabled for WAN optimisation", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.transport.hub-edge", Version: "2010", Name: "Hub Transport to Edge Transport", Table: "transport", Group: "2010.transport.hub-edge", From: []Role{"hub"}, To: []Role{"edge"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.hub-edge"},
		}, DefaultAuth: []string{"direct-trust"}, SupportedAuth: []string{"direct-trust"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Note: "mutual TLS", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.transport.edge-hub", Version: "2010", Name: "Edge Transport to Hub Transport", Table: "transport", Group: "2010.transport.edge-hub", From: []Role{"edge"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.edge-hub"},
		}, DefaultAuth: []string{"direct-trust"}, SupportedAuth: []string{"direct-trust"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Note: "mutual TLS", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.transport.edge-edge", Version: "2010", Name: "Edge Transport to Edge Transport", Table: "transport", Group: "2010.transport.edge-edge", From: []Role{"edge"}, To: []Role{"edge"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.edge-edge"},
		}, DefaultAuth: []string{"anonymous", "certificate"}, SupportedAuth: []string{"anonymous", "certificate"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Note: "opportunistic TLS to every remote host by default", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.transport.mailbox-hub-submission", Version: "2010", Name: "Mailbox to Hub Transport (Mail Submission service)", Table: "transport", Group: "2010.transport.mailbox-hub-submission", From: []Role{"mailbox"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.transport.mailbox-hub-submission", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ntlm"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Note: "kerberos where both roles share one server", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeTransportWorker - RPC (TCP-In)", "MSExchangeTransportWorker - RPCEPMap (TCP-In)"}},
		{ID: "2010.transport.hub-mailbox-mapi", Version: "2010", Name: "Hub Transport to Mailbox (MAPI)", Table: "transport", Group: "2010.transport.hub-mailbox-mapi", From: []Role{"hub"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.transport.hub-mailbox-mapi"},
		}, DefaultAuth: []string{"ntlm"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Note: "kerberos where both roles share one server", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeIS - RPC (TCP-In)", "MSExchangeIS RPCEPMap (TCP-In)"}},
		{ID: "2010.transport.um-hub", Version: "2010", Name: "Unified Messaging to Hub Transport", Table: "transport", Group: "2010.smtp.um-hub", From: []Role{"um"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.smtp.um-hub"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.transport.edgesync", Version: "2010", Name: "EdgeSync from Hub Transport to Edge Transport", Table: "transport", Group: "2010.transport.edgesync", From: []Role{"hub"}, To: []Role{"edge"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0xc5cc, To: 0xc5cc, TCP: true}, Protocol: "tls"}, Group: "2010.transport.edgesync"},
		}, DefaultAuth: []string{"basic"}, SupportedAuth: []string{"basic"}, Encryption: []string{"ldaps"}, ByDefault: "yes", Ports: "50636/tcp ldaps", Note: "AD LDS listens on 50389/tcp without SSL too", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.transport.hub-ad", Version: "2010", Name: "Active Directory access from Hub Transport", Table: "transport", Group: "2010.transport.hub-ad", From: []Role{"hub"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.transport.hub-ad"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.transport.hub-ad"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.transport.hub-ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.transport.hub-ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.transport.hub-ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.transport.hub-ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.transport.hub-ad"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.transport.hub-ad", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.transport.hub-adrms", Version: "2010", Name: "AD RMS access from Hub Transport", Table: "transport", Group: "2010.transport.hub-adrms", From: []Role{"hub"}, To: []Role{"adrms"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.transport.hub-adrms"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "443/tcp https", Note: "starred in the reference", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.transport.client-hub-smtp", Version: "2010", Name: "SMTP client to Hub Transport", Table: "transport", Group: "2010.transport.client-hub-smtp", From: []Role{"client"}, To: []Role{"hub"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x24b, To: 0x24b, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.client-hub-smtp"},
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.transport.client-hub-smtp"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "587/tcp smtp;25/tcp smtp", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.mailbox.ad", Version: "2010", Name: "Active Directory access from Mailbox", Table: "mailbox", Group: "2010.ad.mailbox", From: []Role{"mailbox"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.ad.mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.remote-registry", Version: "2010", Name: "Admin remote access (Remote Registry)", Table: "mailbox", Group: "2010.mailbox.remote-registry", From: []Role{"admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"winreg"}}}, Group: "2010.mailbox.remote-registry"},
			{Match: Match{Port: Port{From: 0x1bd, To: 0x1bd, TCP: true}, Protocol: "smb", Facts: map[string][]string{"rpc.interface": {"winreg"}}}, Group: "2010.mailbox.remote-registry"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"ipsec"}, ByDefault: "no", Ports: "135/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.mailbox.admin-smb", Version: "2010", Name: "Admin remote access (SMB/file)", Table: "mailbox", Group: "2010.mailbox.admin-smb", From: []Role{"admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1bd, To: 0x1bd, TCP: true}, Protocol: "smb"}, Group: "2010.mailbox.admin-smb"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"ipsec"}, ByDefault: "no", Ports: "445/tcp smb", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.availability", Version: "2010", Name: "Availability service (Client Access to Mailbox)", Table: "mailbox", Group: "2010.rpc.cas-mailbox", From: []Role{"cas"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.rpc.cas-mailbox"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeIS - RPC (TCP-In)", "MSExchangeIS RPCEPMap (TCP-In)"}},
		{ID: "2010.mailbox.clustering", Version: "2010", Name: "Clustering", Table: "mailbox", Group: "2010.mailbox.clustering", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"clusapi", "clusconfig"}}}, Group: "2010.mailbox.clustering"},
			{Match: Match{Port: Port{From: 0xd0f, To: 0xd0f, UDP: true}, Protocol: "cluster"}, Group: "2010.mailbox.clustering"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"ipsec"}, ByDefault: "no", Ports: "135/tcp rpc;dynamic/tcp rpc;3343/udp cluster", Note: "3343/udp heartbeats between nodes, plus random high TCP ports", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.mailbox.content-indexing", Version: "2010", Name: "Content indexing", Table: "mailbox", Group: "2010.rpc.mailbox-mailbox", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.rpc.mailbox-mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeSearch - RPC (TCP-In)", "MSFTED - RPC (TCP-In)", "MSFTED - RPCEPMap (TCP-In)"}},
		{ID: "2010.mailbox.log-shipping", Version: "2010", Name: "Log shipping", Table: "mailbox", Group: "2010.replication", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0xfb47, To: 0xfb47, TCP: true}, Protocol: "nns"}, Group: "2010.replication", SitePort: "log_shipping_port"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"yes"}, ByDefault: "no", Ports: "64327/tcp replication", Note: "port customizable", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangerepl - Log Copier (TCP-In)"}},
		{ID: "2010.mailbox.seeding", Version: "2010", Name: "Seeding", Table: "mailbox", Group: "2010.replication", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0xfb47, To: 0xfb47, TCP: true}, Protocol: "nns"}, Group: "2010.replication", SitePort: "log_shipping_port"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"yes"}, ByDefault: "no", Ports: "64327/tcp replication", Note: "port customizable", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangerepl - Log Copier (TCP-In)"}},
		{ID: "2010.mailbox.vss-backup", Version: "2010", Name: "Volume shadow copy service (VSS) backup", Table: "mailbox", Group: "2010.mailbox.vss-backup", From: []Role{"backup"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1bd, To: 0x1bd, TCP: true}, Protocol: "smb"}, Group: "2010.mailbox.vss-backup"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"no"}, ByDefault: "no", Ports: "445/tcp smb", Note: "reference says SMB without a port number", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.assistants", Version: "2010", Name: "Mailbox Assistants", Table: "mailbox", Group: "2010.rpc.mailbox-mailbox", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.rpc.mailbox-mailbox"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.rpc.mailbox-mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"no"}, ByDefault: "no", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeMailboxAssistants - RPC (TCP-In)", "MSExchangeMailboxAssistants - RPCEPMap (TCP-In)"}},
		{ID: "2010.mailbox.mapi", Version: "2010", Name: "MAPI access", Table: "mailbox", Group: "2010.mapi.client", From: []Role{"client"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}}, Group: "2010.mapi.client"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Note: "Outlook reaches public folder databases on the Mailbox role directly", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeRPC - RPC (TCP-In)", "MSExchangeRPC - PRCEPMap (TCP-In)"}},
		{ID: "2010.mailbox.ad-topology", Version: "2010", Name: "Active Directory Topology service access", Table: "mailbox", Group: "2010.rpc.mailbox-mailbox", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.rpc.mailbox-mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeADTopology - RPC (TCP-In)", "MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.mailbox.sa-legacy-listen", Version: "2010", Name: "System Attendant legacy access (listen to requests)", Table: "mailbox", Group: "2010.mailbox.sa-legacy-listen", From: []Role{"any"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"sysatt-private", "sysatt-public", "sysatt-cluster", "rfr"}}}, Group: "2010.mailbox.sa-legacy-listen"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"no"}, ByDefault: "no", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.mailbox.sa-legacy-ad", Version: "2010", Name: "System Attendant legacy access to Active Directory", Table: "mailbox", Group: "2010.ad.mailbox", From: []Role{"mailbox"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.ad.mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.sa-legacy-mapi", Version: "2010", Name: "System Attendant legacy access (as MAPI client)", Table: "mailbox", Group: "2010.rpc.mailbox-mailbox", From: []Role{"mailbox"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.rpc.mailbox-mailbox"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeIS - RPC (TCP-In)", "MSExchangeIS RPCEPMap (TCP-In)"}},
		{ID: "2010.mailbox.oab-ad", Version: "2010", Name: "Offline address book accessing Active Directory", Table: "mailbox", Group: "2010.nspi.mailbox-ad", From: []Role{"mailbox"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"nspi"}}}, Group: "2010.nspi.mailbox-ad"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.rus-rpc", Version: "2010", Name: "Recipient Update Service RPC access", Table: "mailbox", Group: "2010.nspi.mailbox-ad", From: []Role{"mailbox"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"nspi"}}}, Group: "2010.nspi.mailbox-ad"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.mailbox.recipient-update-ad", Version: "2010", Name: "Recipient update to Active Directory", Table: "mailbox", Group: "2010.ad.mailbox", From: []Role{"mailbox"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.ad.mailbox", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.ad.mailbox"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.ad.mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.ad", Version: "2010", Name: "Active Directory access from Client Access", Table: "client-access", Group: "2010.cas.ad", From: []Role{"cas"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.cas.ad"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.cas.ad"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.cas.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.cas.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.cas.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.cas.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.cas.ad"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.cas.ad", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.autodiscover", Version: "2010", Name: "Autodiscover service", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/Autodiscover*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"basic", "negotiate"}, SupportedAuth: []string{"basic", "digest", "ntlm", "negotiate"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.availability", Version: "2010", Name: "Availability service", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/EWS*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.mrs", Version: "2010", Name: "Mailbox Replication Service (MRS)", Table: "client-access", Group: "2010.cas.mrs", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x328, To: 0x328, TCP: true}, Protocol: "nmf"}, Group: "2010.cas.mrs"},
		}, DefaultAuth: []string{"kerberos", "ntlm"}, SupportedAuth: []string{"kerberos", "ntlm"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "808/tcp net.tcp", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeMailboxReplication (GFW) (TCP-In)", "MSExchangeMailboxReplication (TCP-In)"}},
		{ID: "2010.cas.oab", Version: "2010", Name: "Outlook accessing the offline address book", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/OAB*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"https"}, ByDefault: "no", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.owa", Version: "2010", Name: "Outlook Web App", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/", "/owa*", "/ecp*", "/exchange*", "/public*", "/exchweb*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"forms"}, SupportedAuth: []string{"basic", "digest", "forms", "ntlmv2", "kerberos", "certificate"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Note: "self-signed certificate", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.pop3", Version: "2010", Name: "POP3", Table: "client-access", Group: "2010.cas.pop3", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x6e, To: 0x6e, TCP: true}, Protocol: "pop3"}, Group: "2010.cas.pop3"},
			{Match: Match{Port: Port{From: 0x3e3, To: 0x3e3, TCP: true}, Protocol: "tls"}, Group: "2010.cas.pop3"},
		}, DefaultAuth: []string{"basic", "kerberos"}, SupportedAuth: []string{"basic", "kerberos"}, Encryption: []string{"ssl", "tls"}, ByDefault: "yes", Ports: "110/tcp pop3;995/tcp pop3s", Note: "no NTLM", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - POP3 (FGW) (TCP-In)", "MSExchange - POP3 (TCP-In)"}},
		{ID: "2010.cas.imap4", Version: "2010", Name: "IMAP4", Table: "client-access", Group: "2010.cas.imap4", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x8f, To: 0x8f, TCP: true}, Protocol: "imap"}, Group: "2010.cas.imap4"},
			{Match: Match{Port: Port{From: 0x3e1, To: 0x3e1, TCP: true}, Protocol: "tls"}, Group: "2010.cas.imap4"},
		}, DefaultAuth: []string{"basic", "kerberos"}, SupportedAuth: []string{"basic", "kerberos"}, Encryption: []string{"ssl", "tls"}, ByDefault: "yes", Ports: "143/tcp imap4;993/tcp imap4s", Note: "no NTLM", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - IMAP4 (GFW) (TCP-In)", "MSExchangeIMAP4 (TCP-In)"}},
		{ID: "2010.cas.outlook-anywhere", Version: "2010", Name: "Outlook Anywhere (RPC over HTTP)", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/rpc*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"basic"}, SupportedAuth: []string{"basic", "ntlm"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.activesync", Version: "2010", Name: "Exchange ActiveSync", Table: "client-access", Group: "2010.https.client", From: []Role{"client"}, To: []Role{"cas"}, External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/Microsoft-Server-ActiveSync*"}}}, Group: "2010.https.client"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.client"},
		}, DefaultAuth: []string{"basic"}, SupportedAuth: []string{"basic", "certificate"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.um", Version: "2010", Name: "Client Access to Unified Messaging", Table: "client-access", Group: "2010.cas.um", From: []Role{"cas"}, To: []Role{"um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x13c4, To: 0x13c4, TCP: true}, Protocol: "sip"}, Group: "2010.cas.um"},
			{Match: Match{Port: Port{From: 0x13c5, To: 0x13c5, TCP: true}, Protocol: "tls"}, Group: "2010.cas.um"},
			{Match: Match{Port: Port{From: 0x13c6, To: 0x13c6, TCP: true}, Protocol: "sip"}, Group: "2010.cas.um"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "sip"}, Group: "2010.cas.um"},
		}, DefaultAuth: []string{"ip-address"}, SupportedAuth: []string{"ip-address"}, Encryption: []string{"sip-tls"}, ByDefault: "yes", Ports: "5060/tcp sip;5061/tcp sips;5062/tcp sip;dynamic/tcp", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"UMService (GFW) (TCP-In)", "UMService (TCP-In)"}},
		{ID: "2010.cas.legacy-mailbox", Version: "2010", Name: "Client Access to Mailbox running an earlier version", Table: "client-access", Group: "2010.cas.legacy-mailbox", From: []Role{"cas"}, To: []Role{"mailbox-legacy"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http"}, Group: "2010.cas.legacy-mailbox"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.cas.legacy-mailbox"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"negotiate", "basic", "plain"}, Encryption: []string{"ipsec"}, ByDefault: "no", Ports: "80/tcp http;443/tcp https", Note: "kerberos with fallback to NTLM or basic; POP/IMAP plain text", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.mailbox-rpc", Version: "2010", Name: "Client Access to Exchange 2010 Mailbox", Table: "client-access", Group: "2010.rpc.cas-mailbox", From: []Role{"cas"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.rpc.cas-mailbox"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.rpc.cas-mailbox", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Note: "many ports, chosen by the RPC service", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeIS - RPC (TCP-In)", "MSExchangeIS RPCEPMap (TCP-In)"}},
		{ID: "2010.cas.cas-cas-activesync", Version: "2010", Name: "Client Access to Client Access (ActiveSync)", Table: "client-access", Group: "2010.https.cas-cas", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/Microsoft-Server-ActiveSync*"}}}, Group: "2010.https.cas-cas"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.cas-cas"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos", "certificate"}, Encryption: []string{"https"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Note: "self-signed certificate", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.cas-cas-owa", Version: "2010", Name: "Client Access to Client Access (Outlook Web App)", Table: "client-access", Group: "2010.https.cas-cas", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/", "/owa*", "/ecp*", "/exchange*", "/public*", "/exchweb*"}}}, Group: "2010.https.cas-cas"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.cas-cas"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.cas-cas-ews", Version: "2010", Name: "Client Access to Client Access (Exchange Web Services)", Table: "client-access", Group: "2010.https.cas-cas", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.https.cas-cas"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.cas.cas-cas-pop3", Version: "2010", Name: "Client Access to Client Access (POP3)", Table: "client-access", Group: "2010.cas.cas-cas-pop3", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x3e3, To: 0x3e3, TCP: true}, Protocol: "tls"}, Group: "2010.cas.cas-cas-pop3"},
		}, DefaultAuth: []string{"basic"}, SupportedAuth: []string{"basic"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "995/tcp pop3s", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - POP3 (FGW) (TCP-In)", "MSExchange - POP3 (TCP-In)"}},
		{ID: "2010.cas.cas-cas-imap4", Version: "2010", Name: "Client Access to Client Access (IMAP4)", Table: "client-access", Group: "2010.cas.cas-cas-imap4", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x3e1, To: 0x3e1, TCP: true}, Protocol: "tls"}, Group: "2010.cas.cas-cas-imap4"},
		}, DefaultAuth: []string{"basic"}, SupportedAuth: []string{"basic"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "993/tcp imap4s", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - IMAP4 (GFW) (TCP-In)", "MSExchangeIMAP4 (TCP-In)"}},
		{ID: "2010.cas.ocs", Version: "2010", Name: "Office Communications Server to Client Access", Table: "client-access", Group: "2010.cas.ocs", From: []Role{"ocs"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x13d3, To: 0x13d5, TCP: true}, Protocol: "tls"}, Group: "2010.cas.ocs"},
			{Match: Match{Port: Port{From: 0x13c5, To: 0x13c5, TCP: true}, Protocol: "tls"}, Group: "2010.cas.ocs", Reverse: true},
		}, DefaultAuth: []string{"mtls"}, SupportedAuth: []string{"mtls"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "5075-5077/tcp sips in;5061/tcp sips out", Note: "with OCS and Outlook Web App integration", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - OWA (GFW) (TCP-In)", "MSExchangeOWAAppPool (TCP-In)"}},
		{ID: "2010.um.ad", Version: "2010", Name: "Active Directory access from Unified Messaging", Table: "unified-messaging", Group: "2010.um.ad", From: []Role{"um"}, To: []Role{"dc"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x185, To: 0x185, TCP: true}, Protocol: "ldap"}, Group: "2010.um.ad"},
			{Match: Match{Port: Port{From: 0xcc4, To: 0xcc4, TCP: true}, Protocol: "ldap"}, Group: "2010.um.ad"},
			{Match: Match{Port: Port{From: 0x185, To: 0x185, UDP: true}, Protocol: "ldap"}, Group: "2010.um.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x58, To: 0x58, TCP: true, UDP: true}, Protocol: "kerberos"}, Group: "2010.um.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x35, To: 0x35, TCP: true, UDP: true}, Protocol: "dns"}, Group: "2010.um.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"netlogon", "lsarpc", "dssetup", "dsrole"}}}, Group: "2010.um.ad", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"drsuapi", "samr", "nspi"}}}, Group: "2010.um.ad"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.um.ad", MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"kerberos"}, ByDefault: "yes", Ports: "389/tcp+udp ldap;3268/tcp ldap-gc;88/tcp+udp kerberos;53/tcp+udp dns;135/tcp rpc-netlogon;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.um.phone", Version: "2010", Name: "UM phone interaction (IP PBX/VoIP gateway)", Table: "unified-messaging", Group: "2010.um.phone", From: []Role{"pbx"}, To: []Role{"um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x13c4, To: 0x13c4, TCP: true}, Protocol: "sip"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13c9, To: 0x13c9, TCP: true}, Protocol: "sip"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13cb, To: 0x13cb, TCP: true}, Protocol: "sip"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13c5, To: 0x13c5, TCP: true}, Protocol: "tls"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13ca, To: 0x13ca, TCP: true}, Protocol: "tls"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13cc, To: 0x13cc, TCP: true}, Protocol: "tls"}, Group: "2010.um.phone"},
			{Match: Match{Port: Port{From: 0x13c4, To: 0x13c4, TCP: true}, Protocol: "sip"}, Group: "2010.um.phone", Reverse: true},
			{Match: Match{Port: Port{From: 0x13c5, To: 0x13c5, TCP: true}, Protocol: "tls"}, Group: "2010.um.phone", Reverse: true},
			{Match: Match{Port: Port{From: 0x3e80, To: 0x4268, TCP: true}}, Group: "2010.um.phone", MaxConfidence: "port"},
			{Match: Match{Port: Port{From: 0x400, To: 0xffff, UDP: true, Dynamic: true}, Protocol: "rtp"}, Group: "2010.um.phone", MaxConfidence: "pattern"},
			{Match: Match{Port: Port{From: 0x400, To: 0xffff, UDP: true, Dynamic: true}, Protocol: "rtp"}, Group: "2010.um.phone", Reverse: true, MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ip-address"}, SupportedAuth: []string{"ip-address", "mtls"}, Encryption: []string{"sip-tls", "srtp"}, ByDefault: "no", Ports: "5060/tcp sip;5065/tcp sip;5067/tcp sip;5061/tcp sips;5066/tcp sips;5068/tcp sips;16000-17000/tcp control;1024-65535/udp rtp", Note: "control port and RTP ports are dynamic", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"UMService (GFW) (TCP-In)", "UMService (TCP-In)", "UMWorkerProcess (GFW) (TCP-In)", "UMWorkerProcess (TCP-In)"}},
		{ID: "2010.um.web-service", Version: "2010", Name: "Unified Messaging Web service", Table: "unified-messaging", Group: "2010.um.web-service", From: []Role{"client"}, To: []Role{"um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http", Facts: map[string][]string{"http.path": {"/UnifiedMessaging*", "/EWS/UM2007Legacy.asmx*"}}}, Group: "2010.um.web-service"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.um.web-service"},
		}, DefaultAuth: []string{"negotiate"}, SupportedAuth: []string{"basic", "digest", "ntlm", "negotiate"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "80/tcp http;443/tcp https", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high"},
		{ID: "2010.um.cas", Version: "2010", Name: "Unified Messaging to Client Access", Table: "unified-messaging", Group: "2010.um.cas", From: []Role{"um"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x13d3, To: 0x13d5, TCP: true}, Protocol: "tls"}, Group: "2010.um.cas"},
		}, DefaultAuth: []string{"negotiate"}, SupportedAuth: []string{"basic", "digest", "ntlm", "negotiate"}, Encryption: []string{"ssl"}, ByDefault: "yes", Ports: "5075-5077/tcp sips", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchange - OWA (GFW) (TCP-In)", "MSExchangeOWAAppPool (TCP-In)"}},
		{ID: "2010.um.play-on-phone", Version: "2010", Name: "Unified Messaging to Client Access (Play on Phone)", Table: "unified-messaging", Group: "2010.um.play-on-phone", From: []Role{"um"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.um.play-on-phone", MaxConfidence: "pattern"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Reverse: true, Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.um.play-on-phone", Reverse: true, MaxConfidence: "pattern"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Note: "the reference prints UM to CAS; the RPC server is the UM worker, so the call may run CAS to UM: both directions accepted", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "UMWorkerProcess - RPC (TCP-In)"}},
		{ID: "2010.um.hub", Version: "2010", Name: "Unified Messaging to Hub Transport (TLS)", Table: "unified-messaging", Group: "2010.smtp.um-hub", From: []Role{"um"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.smtp.um-hub"},
		}, DefaultAuth: []string{"kerberos"}, SupportedAuth: []string{"kerberos"}, Encryption: []string{"tls"}, ByDefault: "yes", Ports: "25/tcp smtp", Note: "same path as 2010.transport.um-hub, listed in both tables", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.um.mailbox", Version: "2010", Name: "Unified Messaging to Mailbox", Table: "unified-messaging", Group: "2010.um.mailbox", From: []Role{"um"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "storeadmin3", "storeadmin2", "storeadmin1"}}}, Group: "2010.um.mailbox"},
		}, DefaultAuth: []string{"ntlm", "kerberos"}, SupportedAuth: []string{"ntlm", "kerberos"}, Encryption: []string{"rpc"}, ByDefault: "yes", Ports: "135/tcp rpc;dynamic/tcp rpc", Source: "Exchange 2010 Network Port Reference (Microsoft)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeIS - RPC (TCP-In)", "MSExchangeIS RPCEPMap (TCP-In)"}},
		{ID: "2010.static.rpc-client-access", Version: "2010", Name: "RPC Client Access (static or dynamic port)", Table: "static-rpc", Group: "2010.mapi.client", From: []Role{"client"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0xe88b, To: 0xec8a, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}}, Group: "2010.mapi.client"},
			{Match: Match{Port: Port{From: 0x1775, To: 0xe88a, TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}}, Group: "2010.mapi.client"},
		}, Encryption: []string{"rpc"}, Ports: "135/tcp rpc;59531-60554/tcp rpc static;6005-59530/tcp rpc dynamic", Note: "the example uses 59532; without a static port the service takes one in 6005-59530", Source: "Exchange Network Ports Reference (static RPC ports; Exchange 2000/2003)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeRPC - RPC (TCP-In)", "MSExchangeRPC - PRCEPMap (TCP-In)"}},
		{ID: "2010.static.address-book", Version: "2010", Name: "Address Book service (static or dynamic port)", Table: "static-rpc", Group: "2010.static.address-book", From: []Role{"client"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0xe88b, To: 0xec8a, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"nspi", "rfr"}}}, Group: "2010.static.address-book"},
			{Match: Match{Port: Port{From: 0x1775, To: 0xe88a, TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"nspi", "rfr"}}}, Group: "2010.static.address-book"},
		}, Encryption: []string{"rpc"}, Ports: "135/tcp rpc;59531-60554/tcp rpc static;6005-59530/tcp rpc dynamic", Note: "the example uses 59533; dynamic unless made static", Source: "Exchange Network Ports Reference (static RPC ports; Exchange 2000/2003)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeAB-RPC (TCP-In)", "MSExchangeAB-RPCEPMap (TCP-In)"}},
		{ID: "2010.static.public-folders", Version: "2010", Name: "Public folder access (static or dynamic port)", Table: "static-rpc", Group: "2010.mapi.client", From: []Role{"client"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0xe88b, To: 0xec8a, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}}, Group: "2010.mapi.client"},
			{Match: Match{Port: Port{From: 0x1775, To: 0xe88a, TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb"}}}, Group: "2010.mapi.client"},
		}, Encryption: []string{"rpc"}, Ports: "135/tcp rpc;59531-60554/tcp rpc static;6005-59530/tcp rpc dynamic", Note: "the example uses 59532; dynamic unless made static", Source: "Exchange Network Ports Reference (static RPC ports; Exchange 2000/2003)", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeRPC - RPC (TCP-In)", "MSExchangeRPC - PRCEPMap (TCP-In)"}},
		{ID: "2010.diagram.outlook-cas-epm", Version: "2010", Name: "Outlook to Client Access: RPC endpoint mapper", Table: "diagram", Group: "2010.diagram.outlook-cas-epm", From: []Role{"client"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
		}, Ports: "135/tcp rpc", Source: "Exchange 2010 SP1 Network Ports Diagram v0.31", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeAB-RPCEPMap (TCP-In)", "MSExchangeRPC - PRCEPMap (TCP-In)"}},
		{ID: "2010.diagram.third-party-smtp", Version: "2010", Name: "Third-party SMTP to and from the organisation", Table: "diagram", Group: "2010.diagram.third-party-smtp", From: []Role{"internet", "relay"}, To: []Role{"edge", "hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.diagram.third-party-smtp"},
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.diagram.third-party-smtp", Reverse: true},
		}, DefaultAuth: []string{"anonymous"}, Encryption: []string{"tls"}, Ports: "25/tcp smtp", Source: "Exchange 2010 SP1 Network Ports Diagram v0.31", Confidence: "high", FirewallRules: []string{"MSExchangeTransportWorker (GFW) (TCP-In)", "MSExchangeTransportWorker (TCP-In)"}},
		{ID: "2010.diagram.lync", Version: "2010", Name: "OCS/Lync to Unified Messaging", Table: "diagram", Group: "2010.diagram.lync", From: []Role{"ocs"}, To: []Role{"um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x13c5, To: 0x13c5, TCP: true}, Protocol: "tls"}, Group: "2010.diagram.lync"},
			{Match: Match{Port: Port{From: 0x13ca, To: 0x13ca, TCP: true}, Protocol: "tls"}, Group: "2010.diagram.lync"},
			{Match: Match{Port: Port{From: 0x13cc, To: 0x13cc, TCP: true}, Protocol: "tls"}, Group: "2010.diagram.lync"},
		}, DefaultAuth: []string{"mtls"}, Encryption: []string{"sip-tls"}, Ports: "5061/tcp sips;5066/tcp sips;5068/tcp sips", Source: "Exchange 2010 SP1 Network Ports Diagram v0.31", Confidence: "high", FirewallRules: []string{"UMService (GFW) (TCP-In)", "UMService (TCP-In)", "UMWorkerProcess (GFW) (TCP-In)", "UMWorkerProcess (TCP-In)"}},
		{ID: "2010.diagram.load-balancer", Version: "2010", Name: "Load balancer in front of Client Access", Table: "diagram", Group: "2010.diagram.load-balancer", From: []Role{"client", "lb"}, To: []Role{"lb", "cas"}, OneEnd: "lb", External: true, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x50, To: 0x50, TCP: true}, Protocol: "http"}, Group: "2010.diagram.load-balancer"},
			{Match: Match{Port: Port{From: 0x1bb, To: 0x1bb, TCP: true}, Protocol: "tls"}, Group: "2010.diagram.load-balancer"},
			{Match: Match{Port: Port{From: 0x19, To: 0x19, TCP: true}, Protocol: "smtp"}, Group: "2010.diagram.load-balancer"},
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a"},
			{Match: Match{Port: Port{From: 0xe88b, To: 0xec8a, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "nspi", "rfr"}}}, Group: "2010.diagram.load-balancer"},
			{Match: Match{Port: Port{From: 0xe88b, To: 0xec8a, TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"emsmdb", "asyncemsmdb", "nspi", "rfr"}}}, Group: "2010.diagram.load-balancer"},
		}, Ports: "80/tcp;443/tcp;25/tcp;135/tcp;static rpc", Note: "asked for by readers: a flow seen on both sides of a load balancer is one data path", Source: "Exchange 2010 SP1 Network Ports Diagram v0.31", Confidence: "high"},
		{ID: "2010.rpc-http.consolidated", Version: "2010", Name: "RPC over HTTP proxy to Client Access (ncacn_http)", Table: "rpc-http", Group: "2010.rpc-http.consolidated", From: []Role{"cas"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1771, To: 0x1774, TCP: true}, Protocol: "dcerpc"}, Group: "2010.rpc-http.consolidated"},
		}, Encryption: []string{"rpc"}, Ports: "6001,6002,6003,6004", Note: "ncacn_http (6003 and 6010 also answered)", Source: "2010 reference firewall rules; nmap -sV scan of an Exchange 2010 SP-level server on a DC", Confidence: "high", FirewallRules: []string{"MSExchangeAB-RpcHttp (TCP-In)", "MSExchangeRPC (TCP-In)"}},
		{ID: "2010.firewall.monitoring", Version: "2010", Name: "Monitoring service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"hub", "edge", "cas", "um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC", Note: "the program of the rule is Bin\\Microsoft.Exchange.Management.Monitoring.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeMonitoring - RPC (TCP-In)", "MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.firewall.servicehost", Version: "2010", Name: "Service Host RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"hub", "edge", "mailbox", "cas", "um"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\Microsoft.Exchange.Service.Host, Bin\\Microsoft.Exchange.ServiceHost.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeServiceHost - RPC (TCP-In)", "MSExchangeServiceHost - RPCEPMap (TCP-In)", "MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)"}},
		{ID: "2010.firewall.rpchttplbs", Version: "2010", Name: "RPC over HTTP load balancing service", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"cas"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC", Note: "the program of the rule is System32\\Svchost.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "RpcHttpLBS (TCP-In)"}},
		{ID: "2010.firewall.is", Version: "2010", Name: "Information Store over ncacn_http", Table: "firewall", Group: "2010.firewall.is", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x1771, To: 0x1774, TCP: true}, Protocol: "dcerpc"}, Group: "2010.firewall.is", MaxConfidence: "port"},
		}, Ports: "6001, 6002, 6003, 6004 (TCP); 6001 (TCP)", Note: "the program of the rule is Bin\\Store.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeIS (GFW) (TCP-In)", "MSExchangeIS (TCP-In)"}},
		{ID: "2010.firewall.mail-submission", Version: "2010", Name: "Mail Submission service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\MSExchangeMailSubmission.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeMailSubmission - RPC (TCP-In)", "MSExchangeMailSubmission - RPCEPMap (TCP-In)"}},
		{ID: "2010.firewall.migration", Version: "2010", Name: "Migration service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\MSExchangeMigration.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeMigration - RPC (TCP-In)", "MSExchangeMigration - RPCEPMap (TCP-In)"}},
		{ID: "2010.firewall.repl", Version: "2010", Name: "Replication service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\MSExchangeRepl.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangerepl - RPC (TCP-In)", "MSExchangerepl - RPC-EPMap (TCP-In)"}},
		{ID: "2010.firewall.throttling", Version: "2010", Name: "Throttling service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\MSExchangeThrottling.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeThrottling - RPC (TCP-In)", "MSExchangeThrottling - RPCEPMap (TCP-In)"}},
		{ID: "2010.firewall.edgesync", Version: "2010", Name: "EdgeSync service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"hub"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\Microsoft.Exchange.EdgeSyncSvc.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeEdgeSync - RPC (TCP-In)", "MSExchangeEdgeSync - RPCEPMap (TCP-In)"}},
		{ID: "2010.firewall.transport-log-search", Version: "2010", Name: "Transport Log Search service RPC", Table: "firewall", Group: "2010.firewall.rpc", From: []Role{"hub", "edge", "mailbox", "cas", "um", "admin"}, To: []Role{"hub", "edge", "mailbox"}, Legs: []Leg{
			{Match: Match{Port: Port{From: 0x87, To: 0x87, TCP: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"epmapper"}}}, Group: "2010.rpc.mapper", Auth: "n/a", Encryption: "n/a", MaxConfidence: "port"},
			{Match: Match{Port: Port{TCP: true, Dynamic: true}, Protocol: "dcerpc", Facts: map[string][]string{"rpc.interface": {"unnamed"}}}, Group: "2010.firewall.rpc", MaxConfidence: "port"},
		}, Ports: "Dynamic RPC; RPC-EPMap", Note: "the program of the rule is Bin\\MSExchangeTransportLogSearch.exe", Source: "Exchange 2010 Network Port Reference (Microsoft), Windows Firewall rules created by Exchange setup", Confidence: "high", FirewallRules: []string{"MSExchangeRPCEPMap (GFW) (TCP-In)", "MSExchangeRPC (GFW) (TCP-In)", "MSExchangeTransportLogSearch - RPC (TCP-In)", "MSExchangeTransportLogSearch - RPCEPMap (TCP-In)"}},
	}, LocalOnly: []LocalPort{
		{Port: Port{From: 0xc4d5, To: 0xc4d5, TCP: true}, Note: "AD LDS without TLS on an Edge Transport server; EdgeSync comes over 50636", Source: "Exchange documentation, edge-subscriptions"},
	}},
}
