package devpg

import (
	"bytes"
	"os"
	"strings"
)

const logTailLines = 10

// exitIsPassing reports whether the server ended for a reason that passes:
// another program has its port, or processes of a killed server are still about
// to end. The server's locale is C, so the messages are English.
func (d *dataDir) exitIsPassing() bool {
	log, _ := os.ReadFile(d.logPath())

	return bytes.Contains(log, []byte("could not create any TCP/IP sockets")) ||
		bytes.Contains(log, []byte("pre-existing shared memory block"))
}

// logTail returns the end of the log in one line.
func (d *dataDir) logTail() string {
	log, err := os.ReadFile(d.logPath())
	if err != nil {
		return "its log is unreadable: " + err.Error()
	}

	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if len(lines) > logTailLines {
		lines = lines[len(lines)-logTailLines:]
	}

	return strings.Join(lines, " | ")
}
