//go:build !((cgo || windows) && !nopcap)

package capture

import "errors"

func compile(string, uint8) ([]instruction, error) {
	return nil, errors.New("this exspan was built without libpcap, which expressions need")
}

func isPcapTimeout(error) bool { return false }
