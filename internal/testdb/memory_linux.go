package testdb

import (
	"os"
	"syscall"
)

// memoryDir returns a directory in memory with ample room, or "". A database is
// some 300 files, which a disk's file system can take a quarter of a second to
// create where memory takes 20 ms. TMPDIR says where temporary files go, so it
// has the last word.
func memoryDir() string {
	const (
		dir  = "/dev/shm"
		room = 4 << 30 // a container often has 64 MiB here
	)

	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil || os.Getenv("TMPDIR") != "" {
		return ""
	}

	if stat.Bavail*uint64(stat.Bsize) < room { //nolint:gosec // a block's size isn't negative
		return ""
	}

	return dir
}
