//go:build !unix

package main

// mayOpen has nothing to say where files do not belong to who makes them.
func mayOpen(string) error { return nil }
