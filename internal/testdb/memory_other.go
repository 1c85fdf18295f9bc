//go:build !linux

package testdb

// memoryDir returns "": there is no directory in memory that every machine has.
func memoryDir() string { return "" }
