package rewrite

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// maxExamples bounds what is tried for an expression.
const maxExamples = 16

// language is some of the strings that an expression matches as a whole; all
// is set when there are no others, letter case aside.
func language(re *syntax.Regexp) (found []string, all bool) {
	switch re.Op {
	case syntax.OpNoMatch:
		return nil, true
	case syntax.OpLiteral:
		return []string{string(re.Rune)}, true
	case syntax.OpCapture:
		return language(re.Sub[0])
	case syntax.OpAlternate:
		return either(re.Sub)
	case syntax.OpConcat:
		return inTurn(re.Sub)
	case syntax.OpQuest:
		found, all = language(re.Sub[0])
		return append(found, ""), all
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		return repeated(re)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		found = oneOf(re)
		return found, len(found) == 0
	default: // a place between characters
		return []string{""}, true
	}
}

// either is the language of alternatives.
func either(alternatives []*syntax.Regexp) (found []string, all bool) {
	all = true
	for _, re := range alternatives {
		some, whole := language(re)
		found, all = append(found, some...), all && whole
	}
	if len(found) > maxExamples {
		return found[:maxExamples], false
	}
	return found, all
}

// inTurn is the language of expressions one after the other.
func inTurn(parts []*syntax.Regexp) (found []string, all bool) {
	found, all = []string{""}, true
	for _, re := range parts {
		some, whole := language(re)
		var longer []string
		for _, end := range some {
			for _, start := range found {
				longer = append(longer, start+end)
			}
		}
		found, all = longer, all && whole
		if len(found) > maxExamples {
			found, all = found[:maxExamples], false
		}
		if len(found) == 0 {
			return nil, whole
		}
	}
	return found, all
}

// usual are parts of addresses that a repeated expression often means.
var usual = []string{"any", "any.example", "any@any.example", "a", "7", "."}

// repeated is the language of *, + and {n,m}.
func repeated(re *syntax.Regexp) (found []string, all bool) {
	least := map[syntax.Op]int{syntax.OpPlus: 1, syntax.OpRepeat: re.Min}[re.Op]
	some, whole := language(re.Sub[0])
	if len(some) == 0 && least > 0 {
		return nil, whole
	}
	found = matched(re, usual)
	for _, text := range some {
		found = append(found, strings.Repeat(text, max(1, least)))
	}
	if least == 0 {
		found = append(found, "")
	}
	return found[:min(len(found), maxExamples)], false
}

// oneOf are some characters of a class.
func oneOf(re *syntax.Regexp) []string {
	found := matched(re, []string{"a", "7", ".", "@"})
	if len(re.Rune) > 0 {
		found = append(found, string(re.Rune[0]))
	}
	return found
}

// matched are the texts that re matches as a whole.
func matched(re *syntax.Regexp, texts []string) (found []string) {
	whole, err := regexp.Compile("^(?:" + re.String() + ")$")
	for _, text := range texts {
		if err == nil && whole.MatchString(text) {
			found = append(found, text)
		}
	}
	return found
}
