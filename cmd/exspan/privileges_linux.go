package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// keepsCapture reports whether becomeUser leaves the privilege to open an
// interface again.
const keepsCapture = true

// becomeUser gives up the privileges of root for those of a user, but for
// CAP_NET_RAW, which capturing needs whenever an interface comes back. To that end
// it starts the program again: ambient capabilities (capabilities(7)) pass
// through execve(2), which also ends all other threads. The program that is then
// running is that user already, so becomeUser returns nil.
func becomeUser(name string) error {
	uid, gid, err := userIDs(name)
	if err != nil {
		return err
	}
	if os.Geteuid() == uid && os.Getegid() == gid {
		return nil
	}
	// Capabilities belong to a thread, and execve keeps those of its caller. If
	// anything fails, the program ends.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("--user: keeping capabilities: %w", err)
	}
	if err := unix.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("--user: setgroups: %w", err)
	}
	if err := unix.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("--user: setgid: %w", err)
	}
	if err := unix.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("--user: setuid: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const raw = 1 << unix.CAP_NET_RAW
	data := [2]unix.CapUserData{{Effective: raw, Permitted: raw, Inheritable: raw}}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("--user: keeping CAP_NET_RAW: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0); err != nil {
		return fmt.Errorf("--user: keeping CAP_NET_RAW: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("--user: giving up new privileges: %w", err)
	}
	if self, err := os.Executable(); err == nil {
		_ = unix.Exec(self, os.Args, os.Environ()) // returns only an error
	}
	// The user may not get at the folder that the program is in.
	err = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	return fmt.Errorf("--user: starting again as %s: %w", name, err)
}
