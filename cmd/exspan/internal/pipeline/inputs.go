package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/exspan/exspan/capture"
)

// captureName matches the names that capture programs give their files, such as
// trace.pcap, trace.pcap3 (tcpdump -C) and trace.cap.gz.
var captureName = regexp.MustCompile(`(?i)\.(pcap|pcapng|cap|dmp|ntar|etl|trc|snoop)[0-9]*(\.gz|\.zst)?$`)

// CheckFiles returns the mistakes in the names of files: an input that is not
// there, is given twice or cannot be read, and an output that would overwrite
// an input or another output. It replaces folders by the capture files in them.
func (o *Options) CheckFiles(outputs ...Output) error {
	errs := o.expand()
	return errors.Join(append(errs, o.checkOutputs(outputs)...)...)
}

// expand checks that files exist and replaces folders by the capture files in
// them.
func (o *Options) expand() []error {
	var errs []error
	var files []string
	// The same file has the same size and time, by which few of thousands are alike.
	type stamp struct {
		size int64
		time time.Time
	}
	type known struct {
		name string
		info fs.FileInfo
	}
	seen := map[stamp][]known{}
	add := func(name string, st fs.FileInfo, found bool) {
		files = append(files, name)
		if st == nil {
			return // standard input
		}
		at := stamp{st.Size(), st.ModTime()}
		for _, other := range seen[at] {
			if !os.SameFile(st, other.info) {
				continue
			}
			files = files[:len(files)-1]
			switch {
			case found: // a link beside what it names
			case other.name == name:
				errs = append(errs, fmt.Errorf("%s is given twice", name))
			default:
				errs = append(errs, fmt.Errorf("%s and %s are the same file; give it once", other.name, name))
			}
			return
		}
		seen[at] = append(seen[at], known{name, st})
	}
	for i, name := range o.Files {
		if name == "-" {
			add(name, nil, false)
			continue
		}
		st, err := os.Stat(name)
		switch {
		case err != nil && o.Filter == "" && isFilter(o.Files[i:]):
			errs = append(errs, withoutDash(o.command, o.Files[:i], o.Files[i:]))
			return errs
		case err != nil:
			errs = append(errs, missing(name, err))
		case st.IsDir() && !o.folders:
			errs = append(errs, fmt.Errorf("%s is a folder", name))
		case st.IsDir() && !o.Recursive:
			errs = append(errs, fmt.Errorf("%s is a folder; -R reads the capture files in it", name))
		case st.IsDir():
			n := len(files)
			errs = append(errs, walk(name, func(file string, st fs.FileInfo) { add(file, st, true) })...)
			if len(files) == n {
				errs = append(errs, fmt.Errorf("%s holds no capture file", name))
			}
		default:
			if err := checkFile(name, st); err != nil {
				errs = append(errs, err)
				continue
			}
			add(name, st, false)
		}
	}
	o.Files = files
	return errs
}

// walk calls f for the capture files in a folder and in those below it, in
// lexical order. It does not follow links to folders.
func walk(dir string, f func(file string, st fs.FileInfo)) []error {
	var errs []error
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") && file != dir {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || !captureName.MatchString(d.Name()) {
			return nil
		}
		st, err := os.Stat(file)
		if err == nil && st.IsDir() {
			return nil
		}
		if err == nil {
			err = checkFile(file, st)
		}
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		f(file, st)
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// compressions are formats that a capture may be in and that cannot be read.
var compressions = []struct{ magic, name, tool string }{
	{"\xfd7zXZ\x00", "xz", "xz -dc"},
	{"BZh", "bzip2", "bzip2 -dc"},
	{"\x04\x22\x4d\x18", "lz4", "lz4 -dc"},
	{"PK\x03\x04", "zip", "unzip -p"},
	{"7z\xbc\xaf\x27\x1c", "7z", "7z e -so"},
}

// checkFile returns an error if a regular file cannot be opened or is
// compressed in a way that cannot be read.
func checkFile(name string, st fs.FileInfo) error {
	if !st.Mode().IsRegular() {
		return nil // opening a pipe may wait
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 8)
	n, _ := f.Read(head) // errors show when the file is read
	for _, c := range compressions {
		if bytes.HasPrefix(head[:n], []byte(c.magic)) {
			return fmt.Errorf("%s is compressed with %s; decompress it first: %s %[1]s | exspan analyze -", name, c.name, c.tool)
		}
	}
	return nil
}

// missing words the error of os.Stat, os.Open or os.ReadFile.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no such file", name)
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// filterWords are words that BPF expressions begin with; see pcap-filter(7).
var filterWords = []string{
	"host", "net", "port", "portrange", "src", "dst", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp", "ether", "vlan", "mpls",
	"not", "less", "greater", "proto", "broadcast", "multicast", "!", "(",
}

// isFilter reports whether arguments that name no file are a BPF expression.
func isFilter(args []string) bool {
	expr := strings.Join(args, " ")
	first := strings.FieldsFunc(expr, func(r rune) bool { return r == ' ' || r == '[' })
	if len(first) == 0 {
		return false
	}
	word := strings.ToLower(first[0])
	known := slices.Contains(filterWords, word) || word[0] == '(' || word[0] == '!'
	return known && capture.CheckFilter(expr) == nil
}

// withoutDash explains where a BPF expression belongs.
func withoutDash(command string, files, expr []string) error {
	line := strings.TrimSpace(command + " " + strings.Join(files, " "))
	if len(files) == 0 {
		line += " FILE"
	}
	return fmt.Errorf("%q is no file but a BPF expression, which comes after --: %s -- %s",
		strings.Join(expr, " "), line, quoted(strings.Join(expr, " ")))
}

// quoted quotes what a shell would take apart.
func quoted(s string) string {
	if strings.ContainsAny(s, "()&|!<>;*?[]$") {
		return "'" + s + "'"
	}
	return s
}

// An Output is a file that a command writes, and the flag that names it.
type Output struct{ Flag, Name string }

// checkOutputs returns an error for each output that is an input, a site file
// or a file of rules, or another output.
func (o *Options) checkOutputs(outputs []Output) []error {
	var errs []error
	inputs := append(append(slices.Clone(o.Files), o.Site), o.Rules...)
	for i, out := range outputs {
		if out.Name == "" || out.Name == "-" {
			continue
		}
		for _, in := range inputs {
			if in != "" && in != "-" && sameFile(in, out.Name) {
				errs = append(errs, fmt.Errorf("--%s: %s is read, and would be overwritten", out.Flag, out.Name))
			}
		}
		for _, other := range outputs[:i] {
			if other.Name == out.Name && other.Name != os.DevNull || sameFile(other.Name, out.Name) {
				errs = append(errs, fmt.Errorf("--%s and --%s name the same file", other.Flag, out.Flag))
			}
		}
	}
	return errs
}

// sameFile reports whether two names are of one regular file, or would be of
// one if it existed.
func sameFile(a, b string) bool {
	as, aerr := os.Stat(a)
	bs, berr := os.Stat(b)
	if aerr == nil && berr == nil {
		return as.Mode().IsRegular() && os.SameFile(as, bs)
	}
	if !errors.Is(aerr, fs.ErrNotExist) || !errors.Is(berr, fs.ErrNotExist) || filepath.Base(a) != filepath.Base(b) {
		return false
	}
	as, aerr = os.Stat(filepath.Dir(a))
	bs, berr = os.Stat(filepath.Dir(b))
	return aerr == nil && berr == nil && os.SameFile(as, bs)
}
