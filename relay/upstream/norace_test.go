//go:build !race

package upstream_test

const flood = 1000
