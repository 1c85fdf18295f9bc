// Package faults proves what happens to deliveries when something breaks. Its tests run real worker
// processes on a real PostgreSQL against a receiver that records what reaches it, break one thing, and
// compare at the end what was committed with what arrived. README.md says what each test proves.
//
// They take minutes, so they have a build tag:
//
//	go test -tags faults -timeout 10m ./faults/...
package faults
