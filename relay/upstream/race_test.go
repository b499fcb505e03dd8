//go:build race

package upstream_test

// flood is smaller, as the race detector makes all of it slow.
const flood = 400
