//go:build !linux

package queue

import "os"

// unfit does not know the file systems of this platform.
func unfit(string) (name, trouble string, err error) { return "", "", nil }

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }
