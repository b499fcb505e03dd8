package main

import (
	"fmt"
	"io"
	"strings"

	"postern/relay"
)

// Columns of what doctor prints.
const (
	doctorWidth  = 80
	doctorIndent = 31 // of what belongs to a step
)

// printFindings tells of each step, and of what failed what it means and what to
// do about it.
func printFindings(w io.Writer, findings []relay.Finding) error {
	var b strings.Builder
	for i, f := range findings {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintln(&b, f.Upstream)
		for _, s := range f.Steps {
			writeStep(&b, s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeStep(b *strings.Builder, s relay.FindingStep) {
	result := s.Result
	took := fmt.Sprintf("%.1f ms", s.Seconds*1000)
	switch s.Result {
	case relay.StepFailed:
		result = "FAILED"
	case relay.StepSkipped:
		took = ""
	}
	lines := s.Facts
	if s.Error != "" {
		lines = append(lines, s.Error)
	}
	if s.Meaning != "" {
		lines = append(lines, s.Meaning)
	}
	if s.Hint != "" {
		lines = append(lines, "To do:")
		for order := range strings.SplitSeq(s.Hint, "; ") {
			lines = append(lines, "- "+order)
		}
	}
	head := fmt.Sprintf("  %-8s %-8s %9s", result, s.Step, took)
	for _, line := range lines {
		for _, part := range fold(line, doctorWidth-doctorIndent) {
			fmt.Fprintf(b, "%-*s%s\n", doctorIndent, head, part)
			head = ""
		}
	}
	if head != "" {
		fmt.Fprintln(b, strings.TrimRight(head, " "))
	}
}

// fold breaks a line at its blanks, and a word that is too long anywhere.
func fold(line string, width int) (parts []string) {
	var part []rune
	for field := range strings.FieldsSeq(line) {
		word := []rune(field)
		if len(part) > 0 && len(part)+1+len(word) > width {
			parts, part = append(parts, string(part)), nil
		}
		for len(word) > width {
			parts, word = append(parts, string(word[:width])), word[width:]
		}
		if len(part) > 0 {
			part = append(part, ' ')
		}
		part = append(part, word...)
	}
	return append(parts, string(part))
}
