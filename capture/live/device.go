package live

// Device is an interface that can be captured from.
type Device struct {
	Name        string
	Description string   // on Windows what people call it; may be empty
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
