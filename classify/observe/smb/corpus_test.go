package smb

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// Captures of a Samba server with Samba's and impacket's clients (see
// testdata/README.md), and the corpus' captures that contain SMB.
var captures = []string{
	"../../../testdata/directory.pcapng", "../../../testdata/rpc.pcapng",
	"ad/eternalchampion.pcap", "ad/purplesharp_ad_playbook_I_2020-10-22042947.cap", "epm/AD-capture-2.pcapng", "epm/aug_16_par4.pcap.gz",
	"epm/chip_host_signin.pcap.gz", "epm/covenant_dcsync_dcerpc_drsuapi_DsGetNCChanges_2020-08-05020926.cap", "epm/schtasks.pcap",
	"http/winrm_psremote_05-16.pcap", "mapi/mapi.pcap", "mapi/dof-small-device.pcapng", "span/KRB5.pcap", "span/aol.pcap",
}

func open(t *testing.T, name string) string {
	if !strings.HasPrefix(name, "..") {
		return observetest.Corpus(t, name)
	}
	if _, err := os.Stat(name); err != nil {
		t.Skip(err)
	}
	observetest.NeedTshark(t)
	return name
}

// reading is tshark's reading of one TCP stream.
type reading struct {
	version, shares, pipes, auth []string
	binds                        []string // requested interfaces of RPC in pipes
	signed, sealed               bool
}

// tshark returns tshark's reading of SMB in a file, by TCP stream.
func tshark(t *testing.T, file string) map[int]*reading {
	fields := []string{"tcp.stream", "smb2.cmd", "smb2.flags.response", "smb2.nt_status", "smb2.msg_id", "smb2.dialect", "smb2.tree",
		"smb2.filename",
		"smb2.flags.signature", "smb2.header.transform.flags", "smb.cmd", "smb.flags.response", "smb.path", "smb.file", "smb.nt_status",
		"ntlmssp.messagetype", "kerberos.msg_type", "smb2.header.transform.signature", "ntlmssp.auth.username", "smb.mid", "smb.flags2.sec_sig",
		"smb.signature",
		"dcerpc.pkt_type", "dcerpc.cn_bind_to_uuid"}
	out := map[int]*reading{}
	names := map[string]string{} // by stream and message id
	for _, row := range observetest.Tshark(t, file, "tcp and (smb or smb2)", fields, "-E", "occurrence=a", "-E", "aggregator=|") {
		f := map[string]string{}
		for i, n := range fields {
			if i < len(row) {
				f[n] = row[i]
			}
		}
		n, err := strconv.Atoi(f["tcp.stream"])
		if err != nil {
			continue
		}
		s := out[n]
		if s == nil {
			s = &reading{}
			out[n] = s
		}
		add := func(list *[]string, v string) {
			if v != "" && !slices.Contains(*list, v) {
				*list = append(*list, v)
			}
		}
		list := func(name string) []string { return strings.Split(f[name], "|") }
		if f["dcerpc.pkt_type"] == "11" {
			s.binds = append(s.binds, list("dcerpc.cn_bind_to_uuid")...)
		}
		if f["smb2.header.transform.signature"] != "" {
			s.sealed = true
		}
		get := func(l []string, i int) string {
			if i < len(l) {
				return l[i]
			}
			return ""
		}
		cmds, status, ids := list("smb2.cmd"), list("smb2.nt_status"), list("smb2.msg_id")
		responses, signed := list("smb2.flags.response"), list("smb2.flags.signature")
		if f["smb2.cmd"] == "" {
			cmds = nil
		}
		for i, c := range cmds {
			key := f["tcp.stream"] + "/" + get(ids, i)
			isResponse := get(responses, i) == "1" || get(responses, i) == "True"
			ok := get(status, i) == "0x00000000"
			if k, _ := strconv.Atoi(c); k > 3 && (get(signed, i) == "1" || get(signed, i) == "True") {
				s.signed = true
			}
			switch {
			case c == "0" && isResponse:
				add(&s.version, map[string]string{"0x0202": "2.0.2", "0x0210": "2.1", "0x0300": "3.0", "0x0302": "3.0.2",
					"0x0311": "3.1.1"}[f["smb2.dialect"]])
			case c == "3" && !isResponse:
				add(&s.shares, shareOf(get(list("smb2.tree"), 0)))
			case c == "5" && !isResponse && len(cmds) == 1 && strings.HasSuffix(strings.ToUpper(f["smb2.tree"]), "IPC$"):
				names[key] = f["smb2.filename"]
			case c == "5" && isResponse && ok:
				add(&s.pipes, strings.ToLower(names[key]))
			case c == "1" && isResponse && len(cmds) == 1 && ok:
				add(&s.auth, names[f["tcp.stream"]+"/auth"])
			}
			if c == "1" && !isResponse {
				if m := mechanism(f); m != "" {
					names[f["tcp.stream"]+"/auth"] = m
				}
			}
		}
		cmds = list("smb.cmd")
		if cmds[0] != "" && cmds[0] != "0x72" && cmds[0] != "0x73" && names[f["tcp.stream"]+"/auth"] != "anonymous" &&
			list("smb.flags2.sec_sig")[0] == "1" && list("smb.signature")[0] != "0000000000000000" {
			s.signed = true
		}
		isResponse := strings.HasPrefix(f["smb.flags.response"], "1") || strings.HasPrefix(f["smb.flags.response"], "True")
		ok := strings.HasPrefix(f["smb.nt_status"], "0x00000000") || f["smb.nt_status"] == ""
		key := f["tcp.stream"] + "/" + f["smb.mid"]
		switch cmds[0] {
		case "":
		case "0x72":
			if isResponse {
				add(&s.version, "1")
			}
		case "0x73":
			add(&s.version, "1")
			if !isResponse {
				if m := mechanism(f); m != "" {
					names[f["tcp.stream"]+"/auth"] = m
				}
			}
			if isResponse && ok {
				add(&s.auth, names[f["tcp.stream"]+"/auth"])
			}
		case "0x75":
			if !isResponse {
				p := list("smb.path")
				add(&s.shares, shareOf(p[len(p)-1]))
			}
			add(&s.version, "1")
		case "0xa2":
			if !isResponse {
				names[key] = f["smb.file"]
			} else if ok && !strings.Contains(strings.Trim(names[key], `\`), `\`) {
				add(&s.pipes, strings.ToLower(strings.Trim(names[key], `\`)))
			}
			add(&s.version, "1")
		default:
			add(&s.version, "1")
		}
	}
	return out
}

// mechanism returns the authentication mechanism of a session set-up request. tshark
// prints NULL for an empty user name, which only anonymous users have.
func mechanism(f map[string]string) string {
	switch {
	case f["kerberos.msg_type"] == "14":
		return "kerberos"
	case f["ntlmssp.auth.username"] == "NULL":
		return "anonymous"
	case f["ntlmssp.messagetype"] != "":
		return "ntlm"
	}
	return ""
}

func shareOf(path string) string {
	name := strings.ToUpper(path[strings.LastIndexByte(path, '\\')+1:])
	switch name {
	case "":
		return ""
	case "ADMIN$", "IPC$", "C$", "SYSVOL", "NETLOGON":
		return name
	}
	return "disk"
}

// TestAgainstTshark compares the facts of every flow with tshark's reading.
func TestAgainstTshark(t *testing.T) {
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			file := open(t, name)
			want := tshark(t, file)
			flows := 0
			for _, f := range observetest.Flows(t, file, "tcp") {
				w := want[f.Stream]
				if w == nil || len(f.Segments) == 0 {
					continue
				}
				flows++
				r := observetest.Check(t, Protocol(), f.Segments, f.Options())
				same := func(what string, got, want []string) {
					t.Helper()
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("stream %d: %s %q, tshark reads %q", f.Stream, what, got, want)
					}
				}
				yes := func(b bool, s string) []string {
					if b {
						return []string{s}
					}
					return nil
				}
				same("versions", r.Facts.Values(Version), w.version)
				same("shares", r.Facts.Values(Share), w.shares)
				same("pipes", r.Facts.Values(Pipe), w.pipes)
				same("signing", r.Facts.Values(Signing), yes(w.signed, "yes"))
				same("sealed", yes(r.Facts.Has(observe.Encryption, "smb3"), "smb3"), yes(w.sealed, "smb3"))
				same("authentication", slices.DeleteFunc(r.Facts.Values(observe.Auth), func(s string) bool { return s == "netlogon" }), w.auth)
				for _, uuid := range w.binds {
					if !slices.ContainsFunc(r.Facts.Values("rpc.uuid"), func(s string) bool { return strings.HasPrefix(s, uuid) }) {
						t.Errorf("stream %d: bind to %s unread", f.Stream, uuid)
					}
				}
				if testing.Verbose() {
					t.Logf("stream %d %v %s", f.Stream, r.Err, strings.Join(r.Lines(), "; "))
				}
			}
			if flows != len(want) {
				t.Errorf("%d flows read, tshark reads %d", flows, len(want))
			}
		})
	}
}
