package main

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence is how long the kernel waits for what it has sent to be acknowledged.
func boundSilence(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if controlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceTimeout.Milliseconds()))
	}); controlErr != nil {
		return controlErr
	}
	return err
}
