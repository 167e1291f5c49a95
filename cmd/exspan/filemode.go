package main

import (
	"fmt"
	"io/fs"
	"os/user"
	"strconv"
)

// fileMode is the mode of files as a flag: "0640" or "640".
type fileMode fs.FileMode

func (m *fileMode) String() string {
	if *m == 0 {
		return ""
	}
	return fmt.Sprintf("%04o", uint32(*m))
}

func (m *fileMode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n&0o600 != 0o600 {
		return fmt.Errorf("%q is not the mode of a file that its owner reads and writes; write 0640 or 0600", text)
	}
	*m = fileMode(n)
	return nil
}

func (m *fileMode) Type() string { return "MODE" }

// groupID returns the number of a group that is given by name or number.
func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		if g, err = user.LookupGroupId(name); err != nil {
			return 0, fmt.Errorf("unknown group %s", name)
		}
	}
	n, err := strconv.Atoi(g.Gid)
	if err != nil {
		return 0, fmt.Errorf("group %s has no number", name)
	}
	return n, nil
}
