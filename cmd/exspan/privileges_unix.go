//go:build unix && !linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// keepsCapture reports whether becomeUser leaves the privilege to open an
// interface again.
const keepsCapture = false

// becomeUser gives up the privileges of root for those of a user and its group,
// in every thread.
func becomeUser(name string) error {
	uid, gid, err := userIDs(name)
	if err != nil {
		return err
	}
	if os.Geteuid() == uid && os.Getegid() == gid {
		return nil
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("--user: setgroups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("--user: setgid: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("--user: setuid: %w", err)
	}
	if uid != 0 && syscall.Setuid(0) == nil {
		return errors.New("--user: the privileges of root could be had back")
	}
	return nil
}
