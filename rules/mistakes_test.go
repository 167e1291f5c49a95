package rules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// badFiles lists the files of testdata/bad with all their mistakes.
var badFiles = []struct {
	file string
	want []string
}{
	{"pack/anchor.yaml", []string{
		`anchor.yaml:2:9: source must be a text, not an anchor or alias`,
	}},
	{"pack/duplicate-id.yaml", []string{
		`duplicate-id.yaml:11:9: path "2010.a" is already defined at duplicate-id.yaml:5`,
	}},
	{"pack/duplicate-key.yaml", []string{
		`duplicate-key.yaml:2:1: a pack has "version" twice`,
	}},
	{"pack/empty-alternative.yaml", []string{
		`empty-alternative.yaml:8:13: to has an empty alternative`,
	}},
	{"pack/empty-from.yaml", []string{
		`empty-from.yaml:7:11: from is empty`,
	}},
	{"pack/empty-item.yaml", []string{
		`empty-item.yaml:5:3: paths has an empty item`,
	}},
	{"pack/empty-legs.yaml", []string{
		`empty-legs.yaml:9:11: legs is empty`,
	}},
	{"pack/empty-to.yaml", []string{
		`empty-to.yaml:8:9: to must be a text, not a list`,
	}},
	{"pack/empty.yaml", []string{
		`empty.yaml:1:1: the file is empty`,
	}},
	{"pack/evidence-empty.yaml", []string{
		`evidence-empty.yaml:2:5: the evidence has no "any"`,
	}},
	{"pack/evidence-end.yaml", []string{
		`evidence-end.yaml:2:23: unknown end "middle" (one of server, client, both, named)`,
	}},
	{"pack/evidence-no-note.yaml", []string{
		`evidence-no-note.yaml:2:5: the evidence has no "note"`,
	}},
	{"pack/evidence-port-alone.yaml", []string{
		`evidence-port-alone.yaml:2:37: a port number alone proves no role: the match needs a protocol or facts`,
	}},
	{"pack/evidence-role.yaml", []string{
		`evidence-role.yaml:2:13: no host has the role any; it is for the ends of paths and of allowed flows`,
	}},
	{"pack/evidence-unknown-key.yaml", []string{
		`evidence-unknown-key.yaml:2:53: unknown key "fact" in a match`,
	}},
	{"pack/local-port.yaml", []string{
		`local-port.yaml:3:5: the local port has no "note"`,
		`local-port.yaml:3:5: the local port has no "source"`,
		`local-port.yaml:3:12: a local port needs a number`,
		`local-port.yaml:3:25: unknown key "notes" in a local port`,
	}},
	{"pack/external-no-flag.yaml", []string{
		`external-no-flag.yaml:9:15: external must be true or false`,
	}},
	{"pack/group-of-one.yaml", []string{
		`group-of-one.yaml:9:12: group "2010.lonely" names no path and has no other member`,
	}},
	{"pack/id-of-other-version.yaml", []string{
		`id-of-other-version.yaml:5:9: the id "2013.a" must begin with "2010."`,
	}},
	{"pack/interface-name-twice.yaml", []string{
		`interface-name-twice.yaml:5:12: interface name "test" is already defined at interface-name-twice.yaml:4`,
	}},
	{"pack/interface-name.yaml", []string{
		`interface-name.yaml:4:12: "Te st" is not an interface name: one word in lower case`,
	}},
	{"pack/interface-no-title.yaml", []string{
		`interface-no-title.yaml:4:12: the interface has no "title"`,
	}},
	{"pack/interface-uuid-twice.yaml", []string{
		`interface-uuid-twice.yaml:5:12: interface 00000000-ca47-1067-b31f-00dd010662da v2.0 is already defined at interface-uuid-twice.yaml:4`,
	}},
	{"pack/interface-version.yaml", []string{
		`interface-version.yaml:4:72: "1" is not an interface version: major.minor, or ? for any`,
	}},
	{"pack/leg-auth.yaml", []string{
		`leg-auth.yaml:10:46: unknown auth of a leg "ntlm" (one of n/a)`,
	}},
	{"pack/leg-cap.yaml", []string{
		`leg-cap.yaml:10:56: unknown max_confidence "learned" (one of port, pattern)`,
	}},
	{"pack/leg-dynamic-only.yaml", []string{
		`leg-dynamic-only.yaml:10:9: a dynamic port matches every flow: the leg needs a protocol or facts`,
	}},
	{"pack/leg-empty-fact.yaml", []string{
		`leg-empty-fact.yaml:10:63: smtp.keywords is empty`,
	}},
	{"pack/leg-group-of-one.yaml", []string{
		`leg-group-of-one.yaml:10:47: group "2010.lonely" names no path and has no other member`,
	}},
	{"pack/leg-no-facts.yaml", []string{
		`leg-no-facts.yaml:10:47: facts is empty`,
	}},
	{"pack/leg-protocol-case.yaml", []string{
		`leg-protocol-case.yaml:10:34: protocol "SMTP" must be in lower case`,
	}},
	{"pack/leg-site-port.yaml", []string{
		`leg-site-port.yaml:10:51: unknown site_port "smtp_port" (one of log_shipping_port)`,
	}},
	{"pack/leg-unknown-interface.yaml", []string{
		`leg-unknown-interface.yaml:10:79: no pack names an interface "emsmbd"`,
	}},
	{"pack/leg-unknown-key.yaml", []string{
		`leg-unknown-key.yaml:10:24: unknown key "proto" in a leg`,
	}},
	{"pack/leg-without-match.yaml", []string{
		`leg-without-match.yaml:10:9: the leg matches nothing: it has no port`,
	}},
	{"pack/legs-no-list.yaml", []string{
		`legs-no-list.yaml:9:11: legs must be a list, not a text`,
	}},
	{"pack/merge.yaml", []string{
		`merge.yaml:2:1: a key must be a plain word, not an anchor or alias`,
	}},
	{"pack/nesting.yaml", []string{
		`nesting.yaml:1:40: lists and mappings are nested more than 32 deep`,
	}},
	{"pack/no-from.yaml", []string{
		`no-from.yaml:5:9: the path has no "from"`,
	}},
	{"pack/no-legs.yaml", []string{
		`no-legs.yaml:5:9: the path has no "legs"`,
	}},
	{"pack/no-name.yaml", []string{
		`no-name.yaml:5:9: the path has no "name"`,
	}},
	{"pack/no-source.yaml", []string{
		`no-source.yaml:3:9: the path has no "source"`,
		`no-source.yaml:3:9: the path has no "confidence"`,
	}},
	{"pack/no-value.yaml", []string{
		`no-value.yaml:2:1: "source" has no value`,
	}},
	{"pack/no-version.yaml", []string{
		`no-version.yaml:3:1: a pack with paths needs a version`,
	}},
	{"pack/not-a-mapping.yaml", []string{
		`not-a-mapping.yaml:1:1: a pack must be a mapping, not a list`,
	}},
	{"pack/path-no-mapping.yaml", []string{
		`path-no-mapping.yaml:4:9: a path must be a mapping, not a text`,
	}},
	{"pack/paths-no-list.yaml", []string{
		`paths-no-list.yaml:2:8: paths must be a list, not a text`,
	}},
	{"pack/policy.yaml", []string{
		`policy.yaml:2:23: no host has the role any; it is for the ends of paths and of allowed flows`,
		`policy.yaml:2:27: unknown role "hubb"; did you mean hub?`,
		`policy.yaml:3:14: answering is empty`,
		`policy.yaml:5:7: an announcement has no "protocol"`,
		`policy.yaml:7:7: a weakness has no "grades"`,
		`policy.yaml:13:19: unknown encryption "rpcs" (one of https, ipsec, kerberos, ldaps, net.tcp, no, rpc, sip-tls, smb3, srtp, ssl, tls, yes); did you mean rpc?`,
		`policy.yaml:15:19: unknown level "grave" (one of violation, remark)`,
		`policy.yaml:16:38: unknown Exchange version "2011" (of 5.5, 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE)`,
		`policy.yaml:17:11: a grade has no "source"`,
		`policy.yaml:18:38: unknown key "by" in a grade`,
		`policy.yaml:19:7: a weakness must be a mapping, not a text`,
		`policy.yaml:21:7: what is not filtered has no "peers"`,
		`policy.yaml:21:35: unknown role "hubb"; did you mean hub?`,
		`policy.yaml:21:61: unknown key "note" in what is not filtered`,
		`policy.yaml:22:3: unknown key "weaker" in policy`,
	}},
	{"pack/port-backwards.yaml", []string{
		`port-backwards.yaml:10:16: bad port "5077-5075/tcp": the range runs backwards`,
	}},
	{"pack/port-big.yaml", []string{
		`port-big.yaml:10:16: bad port "65536/tcp": ports are 1 to 65535`,
	}},
	{"pack/port-none.yaml", []string{
		`port-none.yaml:10:16: bad port "25": no /tcp or /udp`,
	}},
	{"pack/port-proto.yaml", []string{
		`port-proto.yaml:10:16: bad port "25/sctp": the protocol must be tcp, udp, tcp+udp, icmp, icmp6, esp or ah`,
	}},
	{"pack/port-twice.yaml", []string{
		`port-twice.yaml:10:16: bad port "dynamic/tcp dynamic": dynamic is there twice`,
	}},
	{"pack/port-word.yaml", []string{
		`port-word.yaml:10:16: bad port "smtp/tcp": ports are 1 to 65535`,
	}},
	{"pack/port-zero.yaml", []string{
		`port-zero.yaml:10:16: bad port "0/tcp": ports are 1 to 65535`,
	}},
	{"pack/role-twice.yaml", []string{
		`role-twice.yaml:8:13: to has "cas" twice`,
	}},
	{"pack/several.yaml", []string{
		`several.yaml:2:13: unknown role "caz"; did you mean cas?`,
		`several.yaml:2:37: a port number alone proves no role: the match needs a protocol or facts`,
		`several.yaml:3:5: the evidence has no "source"`,
		`several.yaml:3:23: unknown end "sever" (one of server, client, both, named); did you mean server?`,
	}},
	{"pack/syntax.yaml", []string{
		`syntax.yaml:1:10: could not find end character of double-quoted text`,
	}},
	{"pack/two-documents.yaml", []string{
		`two-documents.yaml:3:1: a second document is not allowed`,
	}},
	{"pack/unknown-auth.yaml", []string{
		`unknown-auth.yaml:9:24: unknown default_auth "magic" (of anonymous, basic, certificate, digest, direct-trust, forms, ip-address, kerberos, mtls, negotiate, none, ntlm, ntlmv2, oauth, plain, spnego, user-pass, ws-security)`,
	}},
	{"pack/unknown-by-default.yaml", []string{
		`unknown-by-default.yaml:9:17: unknown by_default "maybe" (one of yes, no)`,
	}},
	{"pack/unknown-confidence.yaml", []string{
		`unknown-confidence.yaml:9:17: unknown confidence "sure" (one of high, medium, low)`,
	}},
	{"pack/unknown-encryption.yaml", []string{
		`unknown-encryption.yaml:9:21: unknown encryption "rot13" (of https, ipsec, kerberos, ldaps, net.tcp, no, rpc, ` +
			`sip-tls, smb3, srtp, ssl, tls, yes)`,
	}},
	{"pack/unknown-key.yaml", []string{
		`unknown-key.yaml:2:1: unknown key "rules" in a pack`,
	}},
	{"pack/unknown-leg-set.yaml", []string{
		`unknown-leg-set.yaml:9:12: unknown leg set "mapper"`,
	}},
	{"pack/unknown-path-key.yaml", []string{
		`unknown-path-key.yaml:9:5: unknown key "port" in a path`,
	}},
	{"pack/unknown-role.yaml", []string{
		`unknown-role.yaml:7:18: unknown role "postman"`,
	}},
	{"pack/unknown-version.yaml", []string{
		`unknown-version.yaml:1:10: unknown version "2011" (one of 5.5, 2003, 2007, 2010, 2013, 2016, 2019, SE, windows)`,
	}},
	{"pack/unused-leg-set.yaml", []string{
		`unused-leg-set.yaml:5:3: leg set "mail" is used by no path`,
	}},
	{"pack/uuid-short.yaml", []string{
		`uuid-short.yaml:4:24: "a4f1db00-ca47-1067-b31f" is not a UUID in lower case`,
	}},
	{"pack/uuid-upper.yaml", []string{
		`uuid-upper.yaml:4:24: "A4F1DB00-CA47-1067-B31F-00DD010662DB" is not a UUID in lower case`,
	}},
	{"site/allow-dynamic.yaml", []string{
		`allow-dynamic.yaml:2:34: bad port "dynamic/tcp": dynamic ports cannot be allowed`,
	}},
	{"site/allow-no-port.yaml", []string{
		`allow-no-port.yaml:2:5: the allowed flow has no "port"`,
	}},
	{"site/allow-port.yaml", []string{
		`allow-port.yaml:2:34: bad port "3389": no /tcp or /udp`,
	}},
	{"site/allow-role.yaml", []string{
		`allow-role.yaml:2:12: unknown role "admins" in a site file; did you mean admin?`,
	}},
	{"site/cidr-host-bits.yaml", []string{
		`cidr-host-bits.yaml:2:12: bad network "10.9.1.0/16": it has host bits, the network is 10.9.0.0/16`,
	}},
	{"site/cidr-twice.yaml", []string{
		`cidr-twice.yaml:3:12: network 10.9.0.0/16 is already listed in line 2`,
	}},
	{"site/cidr.yaml", []string{
		`cidr.yaml:2:12: bad network "10.9.0.0": an address and a length, such as 10.9.0.0/16`,
	}},
	{"site/log-shipping-port.yaml", []string{
		`log-shipping-port.yaml:1:20: bad log_shipping_port "0": ports are 1 to 65535`,
	}},
	{"site/network-no-role.yaml", []string{
		`network-no-role.yaml:2:5: the network has no "role"`,
	}},
	{"site/network-role.yaml", []string{
		`network-role.yaml:2:31: unknown role "clients" in a site file; did you mean client?`,
	}},
	{"site/server-address-multicast.yaml", []string{
		`server-address-multicast.yaml:2:29: address "ff02::1" is not a host's`,
	}},
	{"site/server-address-network.yaml", []string{
		`server-address-network.yaml:2:29: bad address "10.0.0.0/8"`,
	}},
	{"site/server-address-twice.yaml", []string{
		`server-address-twice.yaml:3:29: address 10.0.0.5 is already listed in line 2`,
	}},
	{"site/server-address.yaml", []string{
		`server-address.yaml:2:29: bad address "10.0.0.256"`,
	}},
	{"site/server-empty-lists.yaml", []string{
		`server-empty-lists.yaml:2:28: addresses is empty`,
		`server-empty-lists.yaml:2:39: roles is empty`,
	}},
	{"site/server-name-twice.yaml", []string{
		`server-name-twice.yaml:3:12: server name "MB1" is already defined in line 2`,
	}},
	{"site/server-no-roles.yaml", []string{
		`server-no-roles.yaml:2:5: the server has no "roles"`,
	}},
	{"site/server-role-any.yaml", []string{
		`server-role-any.yaml:2:48: no host has the role any; it is for the ends of paths and of allowed flows`,
	}},
	{"site/server-role-twice.yaml", []string{
		`server-role-twice.yaml:2:53: roles has "cas" twice`,
	}},
	{"site/server-role.yaml", []string{
		`server-role.yaml:2:57: unknown role "cass" in a site file; did you mean cas?`,
	}},
	{"site/server-roles-no-list.yaml", []string{
		`server-roles-no-list.yaml:2:47: roles must be a list, not a text`,
	}},
	{"site/server-unknown-key.yaml", []string{
		`server-unknown-key.yaml:2:5: the server has no "addresses"`,
		`server-unknown-key.yaml:2:17: unknown key "address" in a server`,
	}},
	{"site/server-version.yaml", []string{
		`server-version.yaml:2:68: there are no rules for Exchange "2020"; in a site file the version is one of 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE`,
	}},
	{"site/several.yaml", []string{
		`several.yaml:1:11: there are no rules for Exchange "2011"; in a site file the version is one of 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE`,
		`several.yaml:3:39: address 10.0.0.5 is already listed in line 3`,
		`several.yaml:3:58: unknown role "mailbx" in a site file; did you mean mailbox?`,
		`several.yaml:5:12: bad network "10.9.0.0/33": an address and a length, such as 10.9.0.0/16`,
		`several.yaml:6:1: unknown key "extra" in a site file`,
	}},
	{"site/static-port.yaml", []string{
		`static-port.yaml:2:81: bad port of emsmdb "70000": ports are 1 to 65535`,
	}},
	{"site/static-service.yaml", []string{
		`static-service.yaml:2:73: no service "EMSMDB" has a port that can be pinned (one of asyncemsmdb, drsuapi, emsmdb, exchange-drs, frsrpc, frstrans, lsarpc, mta, netlogon, nspi, rfr, samr, storeadmin1, sysatt-private, sysatt-public, xds); did you mean emsmdb?`,
	}},
	{"site/unknown-key.yaml", []string{
		`unknown-key.yaml:2:1: unknown key "server" in a site file`,
	}},
	{"site/unknown-version.yaml", []string{
		`unknown-version.yaml:1:11: there are no rules for Exchange "2011"; in a site file the version is one of 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE`,
	}},
	{"pack/absent.yaml", []string{
		`absent.yaml:3:10: the id "gone.mapi" must begin with "not."`,
		`absent.yaml:3:32: unknown Exchange version "2012" (of 5.5, 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE)`,
		`absent.yaml:4:5: what is absent has no "what"`,
		`absent.yaml:4:5: what is absent has no "source"`,
		`absent.yaml:4:41: unknown role "clients"; did you mean client?`,
		`absent.yaml:4:59: unknown key "why" in what is absent`,
		`absent.yaml:5:5: what is absent must be a mapping, not a text`,
	}},
	{"pack/builds.yaml", []string{
		`builds.yaml:4:13: "15" is not a build number: two to four numbers, joined by dots`,
		`builds.yaml:5:13: "15.01" is not a build number: two to four numbers, joined by dots`,
		`builds.yaml:6:32: unknown version "2014" (one of 4.0, 5.0, 5.5, 2003, 2007, 2010, 2013, 2016, 2019, SE, windows, online)`,
		`builds.yaml:7:5: a build has no "version"`,
		`builds.yaml:7:32: unknown key "day" in a build`,
	}},
	{"pack/conditions.yaml", []string{
		`conditions.yaml:9:28: unknown role "edgee"; did you mean edge?`,
		`conditions.yaml:9:43: no host has the role any; it is for the ends of paths and of allowed flows`,
		`conditions.yaml:9:57: no_pipe must be true or false`,
		`conditions.yaml:9:77: unknown unannounced "expected" (one of undetermined)`,
		`conditions.yaml:9:87: unknown key "names" in conditions`,
		`conditions.yaml:15:17: conditions is empty`,
	}},
	{"pack/evidence-by-version.yaml", []string{
		`evidence-by-version.yaml:3:5: evidence that vetoes belongs in no_evidence`,
		`evidence-by-version.yaml:6:30: unknown Exchange version "2011" (of 5.5, 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE)`,
		`evidence-by-version.yaml:6:45: bad port "0": ports are 1 to 65535`,
		`evidence-by-version.yaml:6:56: unknown role "hubs"; did you mean hub?`,
		`evidence-by-version.yaml:6:63: roles of a version has no "roles"`,
		`evidence-by-version.yaml:10:35: facts is empty`,
		`evidence-by-version.yaml:12:5: the evidence has no "note"`,
	}},
	{"pack/extends-not.yaml", []string{
		`extends-not.yaml:4:7: ends is for a pack that extends another`,
		`extends-not.yaml:5:9: append is for a pack that extends another`,
		`extends-not.yaml:6:10: without is for a pack that extends another`,
	}},
	{"pack/extends-nothing.yaml", []string{
		`extends-nothing.yaml:2:10: there is no pack "exchange2012" to extend`,
	}},
	{"pack/extends.yaml", []string{
		`extends.yaml:4:21: unknown role "caz"; did you mean cas?`,
		`extends.yaml:4:26: no host has the role any; it is for the ends of paths and of allowed flows`,
		`extends.yaml:5:31: unknown confidence "sure" (one of high, medium, low)`,
		`extends.yaml:5:37: unknown key "by" in append`,
		`extends.yaml:6:11: the pack "exchange2013" has no path "2013.nothing"`,
		`extends.yaml:8:33: unknown role "clent"; did you mean client?`,
		`extends.yaml:9:10: the path has no "from"`,
		`extends.yaml:9:10: the path has no "to"`,
		`extends.yaml:9:10: the path has no "legs"`,
		`extends.yaml:9:10: the path has no "source"`,
		`extends.yaml:9:10: path "2016.client.owa" is already defined at extends.yaml:8`,
		`extends.yaml:10:10: the path has no "from"`,
		`extends.yaml:10:10: the path has no "to"`,
		`extends.yaml:10:10: the path has no "legs"`,
		`extends.yaml:10:10: the path has no "source"`,
	}},
	{"pack/groups.yaml", []string{
		`groups.yaml:4:16: a must be a text, not a list`,
		`groups.yaml:6:5: a group has no "name"`,
		`groups.yaml:7:5: group "2010.g" is already defined`,
		`groups.yaml:7:34: bad leg "135/tcp dcerpc backwards": unknown flag "backwards" (one of reverse, dynamic, static, n/a, configurable, multicast)`,
		`groups.yaml:7:61: unknown key "members" in a group`,
		`groups.yaml:9:57: group "2010.g" names no path and has no other member`,
	}},
	{"pack/leg-text.yaml", []string{
		`leg-text.yaml:10:9: bad leg "25/tcp smtp[x]": smtp has no details`,
		`leg-text.yaml:11:9: bad leg "25/tcp SMTP": protocol "SMTP" must be a word in lower case`,
		`leg-text.yaml:12:9: bad leg "135/tcp dcerpc[": details stand in brackets, as in dcerpc[emsmdb]`,
		`leg-text.yaml:13:9: bad leg "135/tcp dcerpc[emsmdb,]": an empty detail`,
		`leg-text.yaml:14:9: bad leg "135/tcp dcerpc[emsmdb,emsmdb]": detail "emsmdb" is there twice`,
		`leg-text.yaml:15:9: bad leg "443/tcp tls[http,smtp]": TLS carries one protocol`,
		`leg-text.yaml:16:9: bad leg "443/tcp tls reverse reverse": reverse is there twice`,
		`leg-text.yaml:17:9: bad leg "443/tcp tls backwards": unknown flag "backwards" (one of reverse, dynamic, static, n/a, configurable, multicast)`,
		`leg-text.yaml:18:9: bad leg "59531/tcp dcerpc dynamic static": a port is static or dynamic, not both`,
		`leg-text.yaml:19:9: bad port "50/esp": esp has no ports: write -/esp`,
		`leg-text.yaml:20:9: bad port "esp/esp": esp has no ports: write -/esp`,
		`leg-text.yaml:21:9: bad port "-/tcp": ports are 1 to 65535`,
		`leg-text.yaml:22:9: bad port "70000/tcp": ports are 1 to 65535`,
		`leg-text.yaml:23:9: a dynamic port matches every flow: the leg needs a protocol or facts`,
	}},
	{"pack/pinned.yaml", []string{
		`pinned.yaml:3:5: a service has no "service"`,
		`pinned.yaml:3:5: a service has no "source"`,
		`pinned.yaml:3:50: site must be true or false`,
		`pinned.yaml:4:17: unknown version "2011" (of 4.0, 5.0, 5.5, 2003, 2007, 2010, 2013, 2016, 2019, SE, windows, online)`,
		`pinned.yaml:4:36: unknown key "port" in a service`,
	}},
	{"site/accept.yaml", []string{
		`accept.yaml:4:15: unknown finding "cleartxt" (one of cleartext, auth-unsupported, auth-missing, weak-auth, weak-encryption, protocol-mismatch, prohibited, external-source, wrong-direction, retired-protocol, auth-not-default, port-undocumented, endpoint-unannounced, announcement-conflict, static-port-recommended, static-port-unused, refused, unanswered); did you mean cleartext?`,
		`accept.yaml:4:31: "cas pop3" is not a data path: the id of one, such as 2010.cas.pop3, or its beginning with *`,
		`accept.yaml:4:47: "mb2" is not a role, an address, a network or the name of a server in this site file; did you mean mb1?`,
		`accept.yaml:4:68: bad date "31.12.2026": a day such as 2026-12-31`,
		`accept.yaml:4:80: unknown key "by" in an accepted finding`,
		`accept.yaml:5:5: an accepted finding has no "finding"`,
		`accept.yaml:6:32: "10.0.0.5/33" is not a role, an address, a network or the name of a server in this site file`,
		`accept.yaml:6:49: "clint" is not a role, an address, a network or the name of a server in this site file; did you mean client?`,
	}},
	{"site/ipv6-bare.yaml", []string{
		`ipv6-bare.yaml:2:29: an address must be a text; an IPv6 address needs quotes, as in "2001:db8::5"`,
	}},
	{"site/ipv6.yaml", []string{
		`ipv6.yaml:4:9: bad address "2001:db8::5::6"`,
		`ipv6.yaml:5:9: bad address "fe80::1%eth0": a site file has no zones`,
		`ipv6.yaml:8:12: bad network "2001:db8::/200": an address and a length, such as 10.9.0.0/16`,
	}},
	{"site/no-rules.yaml", []string{
		`no-rules.yaml:1:11: there are no rules for Exchange "5.5"; in a site file the version is one of 2000, 2003, 2007, 2010, 2013, 2016, 2019, SE`,
		`no-rules.yaml:3:46: name the roles of the server; any-exchange is for the ends of paths and of allowed flows`,
		`no-rules.yaml:3:90: no service "emsmbd" has a port that can be pinned (one of asyncemsmdb, drsuapi, emsmdb, exchange-drs, frsrpc, frstrans, lsarpc, mta, netlogon, nspi, rfr, samr, storeadmin1, sysatt-private, sysatt-public, xds); did you mean emsmdb?`,
		`no-rules.yaml:3:111: bad port of nspi "0": ports are 1 to 65535`,
	}},
	{"site/relays.yaml", []string{
		`relays.yaml:1:32: bad address "10.0.0.1/8": an address, or a network such as 10.9.0.0/16`,
		`relays.yaml:1:44: bad address "sbc1": an address, or a network such as 10.9.0.0/16`,
		`relays.yaml:2:10: mirrors must be a list, not a text`,
	}},
}

func TestMistakes(t *testing.T) {
	var tested []string
	for _, tt := range badFiles {
		tested = append(tested, tt.file)
		data, err := os.ReadFile(filepath.Join("testdata/bad", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(tt.file)
		if strings.HasPrefix(tt.file, "site/") {
			_, err = LoadSite(name, data)
		} else {
			err = Check(name, data)
		}
		if err == nil {
			t.Errorf("%s: no mistake found", tt.file)
		} else if want := strings.Join(tt.want, "\n"); err.Error() != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.file, err, want)
		}
	}
	files, err := filepath.Glob("testdata/bad/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		rel := filepath.ToSlash(strings.TrimPrefix(f, filepath.Join("testdata", "bad")+string(filepath.Separator)))
		if !slices.Contains(tested, rel) {
			t.Errorf("%s is in no test", rel)
		}
	}
}
