//go:build linux && race

package main_test

// raceDetector tells whether the binary under test is built with -race too.
const raceDetector = true
