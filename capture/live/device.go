package live

// A Device is an interface to capture from.
type Device struct {
	Name        string
	Description string   // the friendly name on Windows; may be empty
	Addresses   []string // of IP
	Up          bool
	Running     bool
	Loopback    bool
}

// instruction is one of the classic BPF machine.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}
