//go:build !race

package submission

// slow divides what tests do much of; see race_test.go.
const slow = 1
