//go:build unix

package main

import (
	"fmt"
	"os/user"
	"strconv"
)

// userIDs returns the numbers of a user and its group, who is named by name or
// number.
func userIDs(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return 0, 0, fmt.Errorf("--user: unknown user %s", name)
		}
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if uerr != nil || gerr != nil {
		return 0, 0, fmt.Errorf("--user: %s has no numbers", name)
	}
	return uid, gid, nil
}
