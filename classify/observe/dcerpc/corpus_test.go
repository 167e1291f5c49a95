package dcerpc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

// captures are the files of the corpus that contain DCE/RPC.
var captures = []string{
	"mapi/mapi.pcap", "mapi/dof-small-device.pcapng", "mapi/ntlm-empty-av-sequence.pcap",
	"epm/ntlm_rpc.pcapng", "epm/dcerpc_privacy_ntlm.pcapng.gz", "epm/dcerpc-fault-stub-data-02.pcap.gz", "epm/aug_16_par4.pcap.gz",
	"epm/chip_host_signin.pcap.gz", "epm/schtasks.pcap", "epm/covenant_dcsync_dcerpc_drsuapi_DsGetNCChanges_2020-08-05020926.cap",
	"epm/empire_psexec_dcerpc_tcp_svcctl_WORKSTATION6_2020-09-20121608.cap", "epm/AD-capture-2.pcapng", "epm/packetcapture_1.pcap",
	"epm/discovery_scan_dcerpc_endpoint_mapper.pcapng", "http/winrm_psremote_05-16.pcap", "ad/eternalchampion.pcap",
	"ad/purplesharp_ad_playbook_I_2020-10-22042947.cap",
	recorded, directory,
}

// Captures made for this project, of a Samba domain controller, impacket and simulated
// Exchange servers (see testdata/README.md).
const (
	recorded  = "../../../testdata/rpc.pcapng"
	directory = "../../../testdata/directory.pcapng"
)

func capture(t *testing.T, name string) string {
	t.Helper()
	if name != recorded && name != directory {
		return observetest.Corpus(t, name)
	}
	if _, err := os.Stat(name); err != nil {
		t.Skip(err)
	}
	observetest.NeedTshark(t)
	return name
}

// found is a flow that Detect recognises as DCE/RPC, with its report.
type found struct {
	*observetest.Flow
	observetest.Result
}

// read returns the flows of a capture that Detect recognises by their first segment in
// each direction.
func read(t *testing.T, name string) []found {
	t.Helper()
	if out, ok := flowsOf[name]; ok {
		return out
	}
	var out []found
	p := Protocol()
	for _, f := range observetest.Flows(t, capture(t, name), "") {
		first := observe.First{Datagram: f.UDP, ClientPort: f.Client.Port(), ServerPort: f.Server.Port(),
			OnPort: slices.Contains(p.TCP, f.Server.Port()) && !f.UDP || f.Server.Port() == 135}
		for _, s := range f.Segments {
			if s.Dir == observe.ToServer && first.ToServer == nil {
				first.ToServer = s.Data
			} else if s.Dir == observe.ToClient && first.ToClient == nil {
				first.ToClient = s.Data
			}
		}
		if p.Detect(&first) != observe.Yes {
			continue
		}
		out = append(out, found{f, observetest.Check(t, p, f.Segments, f.Options())})
	}
	flowsOf[name] = out
	return out
}

// flowsOf caches the results of read, which takes longer than the tests.
var flowsOf = map[string][]found{}

// TestTshark compares binds, calls and towers with those that tshark reads. Where tshark
// finds no DCE/RPC over TCP or UDP, Detect must find none.
func TestTshark(t *testing.T) {
	for _, name := range captures {
		t.Run(filepath.Base(name), func(t *testing.T) {
			flows := read(t, name)
			type want struct {
				uuids, levels, secAddr, ports, services []string
				connect                                 bool // bound at level connect, at which calls need no sec_trailer
			}
			streams := map[int]*want{}
			var offered []string
			rows := observetest.Tshark(t, capture(t, name), "dcerpc and tcp and not nbss and not http", []string{"tcp.stream",
				"dcerpc.pkt_type", "dcerpc.cn_bind_to_uuid", "dcerpc.cn_bind_if_ver", "dcerpc.cn_bind_if_ver_minor", "dcerpc.cn_bind_trans_id",
				"dcerpc.cn_ack_result", "dcerpc.cn_sec_addr", "dcerpc.auth_level", "epm.proto.tcp_port", "kerberos.SNameString",
				"epm.proto.http_port"})
			for _, r := range rows {
				n, err := strconv.Atoi(r[0])
				if err != nil {
					continue
				}
				w := streams[n]
				if w == nil {
					w = new(want)
					streams[n] = w
				}
				types, split := strings.Split(r[1], ","), func(i int) []string { return strings.Split(r[i], ",") }
				if len(types) > 1 {
					continue
				}
				switch types[0] {
				case "11", "14":
					w.connect = w.connect || r[8] == "2"
					offered = offered[:0]
					for i, u := range split(2) {
						s := u + " v" + split(3)[i] + "." + split(4)[i]
						if strings.HasPrefix(split(5)[i], "6cb71c2c-9812-4540") {
							s = ""
						}
						offered = append(offered, s)
					}
					if s := strings.ReplaceAll(r[10], ",", "/"); s != "" {
						w.services = append(w.services, s)
					}
				case "12", "15":
					for i, res := range split(6) {
						if res == "0" && i < len(offered) && offered[i] != "" {
							w.uuids = append(w.uuids, offered[i])
						}
					}
					if r[7] != "" {
						w.secAddr = append(w.secAddr, r[7])
					}
				case "0":
					if r[8] != "" {
						i, _ := strconv.Atoi(r[8])
						w.levels = append(w.levels, levels[i])
					} else if w.connect {
						w.levels = append(w.levels, "connect")
					} else {
						w.levels = append(w.levels, "none")
					}
				case "2":
					for _, i := range []int{9, 11} {
						if r[i] != "" {
							w.ports = append(w.ports, split(i)...)
						}
					}
				}
			}
			same := func(stream int, what string, got, want []string) {
				t.Helper()
				got, want = set(got), set(want)
				if !slices.Equal(got, want) {
					t.Errorf("stream %d: %s %q, tshark reads %q", stream, what, got, want)
				}
			}
			for _, f := range flows {
				w := streams[f.Stream]
				if w == nil && name == "mapi/mapi.pcap" && f.Stream == 12 {
					continue // tshark decodes this session as another protocol; the corpus' notes say MAPI
				}
				if f.UDP || w == nil {
					t.Errorf("stream %d %v > %v: tshark reads no DCE/RPC", f.Stream, f.Client, f.Server)
					continue
				}
				delete(streams, f.Stream)
				same(f.Stream, "interfaces", f.Facts.Values(UUID), w.uuids)
				same(f.Stream, "sec_addr", f.Facts.Values(SecAddr), w.secAddr)
				if len(w.levels) > 0 {
					same(f.Stream, "levels", f.Facts.Values(AuthLevel), w.levels)
				}
				var ports []string
				for _, e := range f.Endpoints {
					if (e.Source == observe.FromMap || e.Source == observe.FromLookup) && !e.UDP {
						ports = append(ports, strconv.Itoa(int(e.Server.Port())))
					}
				}
				same(f.Stream, "mapped ports", ports, slices.DeleteFunc(w.ports, func(p string) bool { return p == "135" }))
				same(f.Stream, "ticket services", f.Facts.Values("kerberos.service"), w.services)
			}
			for n := range streams {
				t.Errorf("stream %d: tshark reads DCE/RPC, observer does not", n)
			}
		})
	}
}

func set(l []string) []string {
	l = slices.Clone(l)
	slices.Sort(l)
	return slices.Compact(l)
}

// names maps the interface names in the corpus' notes to their UUIDs in the documents of
// Microsoft and in [C706].
var names = map[string]string{
	"NSPI": "f5cc5a18-4264-101a-8c59-08002b2f8426 v56.0", "EMSMDB(MAPI)": "a4f1db00-ca47-1067-b31f-00dd010662da v0.81",
	"DRSUAPI": "e3514235-4b06-11d1-ab04-00c04fc2dcd2 v4.0", "SVCCTL": "367abb81-9844-35f1-ad32-98f038001003 v2.0",
	"SAMR": "12345778-1234-abcd-ef00-0123456789ac v1.0", "NETLOGON": "12345678-1234-abcd-ef00-01234567cffb v1.0",
	"LSARPC": "12345778-1234-abcd-ef00-0123456789ab v0.0", "ITaskScheduler": "86d35949-83c9-4044-b424-db363231fd0c v1.0",
	"SPOOLSS": "12345678-1234-abcd-ef00-0123456789ab v1.0", "WindowsShutdown": "d95afe70-a6d5-4259-822e-2c84da1ddb0d v1.0",
	"FW": "6b5bdd1e-528c-422c-af8c-a4079be4fe48 v1.0", "EVENTLOG6": "f6beaff7-1e19-4fbb-9f8f-b89e2018337c v1.0",
}

// TestRecorded verifies that exactly the towers in a recording's ground truth are
// learned, except for those in the given frames, which are answers over a named pipe.
func TestRecorded(t *testing.T) {
	testRecorded(t, recorded)
	testRecorded(t, directory, 1283)
}

func testRecorded(t *testing.T, name string, piped ...int) {
	t.Helper()
	b, err := os.ReadFile(strings.TrimSuffix(name, ".pcapng") + ".truth.json")
	if err != nil {
		t.Skip(err)
	}
	var truth struct {
		Endpoints []struct {
			Source, Server, UUID, Protocol string
			Port, Frame                    int
		}
	}
	if err := json.Unmarshal(b, &truth); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, e := range truth.Endpoints {
		if e.Port != 0 && e.Port != 135 && !slices.Contains(piped, e.Frame) {
			want = append(want, e.Source+" "+e.Server+" "+e.UUID+" "+strconv.Itoa(e.Port))
		}
	}
	for _, f := range read(t, name) {
		for _, e := range f.Endpoints {
			if e.Source != observe.FromBind {
				uuid, _, _ := strings.Cut(e.Service, " ")
				got = append(got, string(e.Source)+" "+e.Server.Addr().String()+" "+uuid+" "+strconv.Itoa(int(e.Server.Port())))
			}
		}
	}
	if !slices.Equal(set(got), set(want)) || len(want) == 0 {
		t.Errorf("%s: learned\n\t%s\nwant\n\t%s", name, strings.Join(set(got), "\n\t"), strings.Join(set(want), "\n\t"))
	}
}

// TestGroundTruth verifies that every mapping in the corpus' notes is learned.
func TestGroundTruth(t *testing.T) {
	notes, err := os.ReadFile(filepath.Join(os.Getenv("EXSPAN_CORPUS"), "GROUND-TRUTH.md"))
	if err != nil {
		t.Skip(err)
	}
	file := regexp.MustCompile(`(?m)^### (\S+)`)
	maps := regexp.MustCompile(`EPM frame \d+: (\S+):135 maps (\S+) -> (\S+) \(`)
	checked := 0
	heads := file.FindAllSubmatchIndex(notes, -1)
	for i, h := range heads {
		end := len(notes)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		lines := maps.FindAllSubmatch(notes[h[1]:end], -1)
		if len(lines) == 0 {
			continue
		}
		name := string(notes[h[2]:h[3]])
		var learned []string
		for _, f := range read(t, name) {
			for _, e := range f.Endpoints {
				if e.Source == observe.FromMap || e.Source == observe.FromLookup {
					learned = append(learned, e.From.Addr().String()+" "+e.Service+" "+e.Server.String())
				}
			}
		}
		for _, l := range lines {
			service := names[string(l[2])]
			if service == "" {
				service = string(l[2])
			}
			if !slices.ContainsFunc(learned, func(s string) bool {
				return strings.HasPrefix(s, string(l[1])+" "+service+" ") && strings.HasSuffix(s, " "+string(l[3])) ||
					service == string(l[2]) && strings.HasPrefix(s, string(l[1])+" "+service+" v") && strings.HasSuffix(s, " "+string(l[3]))
			}) {
				t.Errorf("%s: not learned: %s", name, l[0])
			}
			checked++
		}
	}
	if checked < 30 {
		t.Errorf("the notes state %d mappings, want 30 or more", checked)
	}
}

// TestMessengerSpam reads connectionless RPC without answers. It names its interface and
// announces no endpoint.
func TestMessengerSpam(t *testing.T) {
	n := 0
	for _, f := range read(t, "span/aol.pcap") {
		n++
		if !f.UDP || len(f.Endpoints) != 0 || !slices.Equal(f.Facts.Values(UUID), []string{"5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc v1.0"}) {
			t.Errorf("stream %d: %q", f.Stream, f.Lines())
		}
	}
	if n == 0 {
		t.Error("no flow")
	}
}

// TestNegatives verifies that other protocols are not taken for DCE/RPC.
func TestNegatives(t *testing.T) {
	for _, name := range []string{"negatives/Stanag5066-TCP-ENCAP-Bftp-Exchange-tx-rx.pcapng", "negatives/krb-user1-openwall-1.pcap",
		"http/NTLM.pcap", "ad/missing_ldap_logs.pcapng", "smtp/1flowB.pcap", "sip-rtp/SIP_DTMF2.pcap", "span/pcap_flow_lab_showcase.pcap"} {
		for _, f := range read(t, name) {
			t.Errorf("%s: stream %d %v > %v: %q", name, f.Stream, f.Client, f.Server, f.Lines())
		}
	}
}

// TestMAPI reads the complete Exchange conversation of the corpus.
func TestMAPI(t *testing.T) {
	for _, f := range read(t, "mapi/mapi.pcap") {
		if f.Client.Port() != 1073 {
			continue
		}
		observetest.Expect(t, f.Result,
			"auth=ntlm", "encryption=none", "rpc.auth_level=connect", "rpc.sec_addr=1032", "rpc.uuid="+names["EMSMDB(MAPI)"],
			"ntlm.domain=CNAMIS", "ntlm.server=SATURN", "ntlm.version=1",
			// EcDoConnect carries both versions in clear ([MS-OXCRPC]): Exchange 5.5 with
			// Service Pack 4, and a client of its time.
			"exchange.version=5.5.2653.23", "mapi.client_version=5.0.3144.0",
			"endpoint 192.168.0.2:1032/tcp "+names["EMSMDB(MAPI)"]+" source=bind from=192.168.0.2:1032",
			"endpoint 192.168.0.173:1071/udp newmail source=push from=192.168.0.173:1073")
	}
}
