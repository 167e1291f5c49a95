//go:build (cgo || windows) && !nopcap

package capture

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"
)

// compile translates a BPF expression with libpcap.
func compile(expr string, linkType uint8) ([]instruction, error) {
	program, err := pcap.CompileBPFFilter(layers.LinkType(linkType), maxFrame, expr)
	if err != nil && strings.Contains(err.Error(), "wpcap.dll") {
		return nil, fmt.Errorf("expressions need Npcap on Windows (https://npcap.com): %w", err)
	}
	if err != nil {
		return nil, err
	}
	code := make([]instruction, len(program))
	for i, p := range program {
		code[i] = instruction{p.Code, p.Jt, p.Jf, p.K}
	}
	return code, nil
}

// isPcapTimeout reports whether err is what a pcap handle returns when nothing
// arrived for a while.
func isPcapTimeout(err error) bool {
	return errors.Is(err, pcap.NextErrorTimeoutExpired)
}
