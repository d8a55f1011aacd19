package ere

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestWhatAnExpressionMeans(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no string // texts, with blanks between
	}{
		{"6.1", "6.1 6.1.0-18 x6x1x", "61 6"},
		{`^6\.1\.`, "6.1.0 6.1.", "6x1.0 16.1.0"},
		{"amd64$", "6.1.0-amd64", "amd64x"},
		{"^5|^6", "5.10 6.1", "4.19 15.6"},
		{"^(5|6)+$", "5 65 5665", "57 x"},
		{"^[^-[:alpha:]]+-[0-9]{1,2}(-amd64)?$", "6.1.0-18 6.1.0-1-amd64", "6.1.0-181 6.1.0-x"},
		{"^[]a]$", "] a", "b"}, {"^[a-]$", "a -", "b"}, {"^[^]a]$", "b", "] a"},
		{"^a{2,3}$", "aa aaa", "a aaaa"}, {"^a{2}$", "aa", "a aaa"}, {"^a{2,}$", "aa aaaaa", "a"},
		{"^a{,2}$", "a{,2}", "aa"}, {"^{$", "{", "x"},
		{"^(a*)*b$", "b aaab", "aac"}, {"^(|a)b$", "b ab", "aab"}, {"^.$", "ä", "ab"},
		{`^\d+\w\s?$`, "1a 22_", "aa 1-"}, {"^(?:ab)+$", "ab abab", "aba"}, {`^[\d.]+$`, "6.1", "6a"}, {`^[\D]$`, "a", "6"}, {"^[[:^digit:]]$", "a", "6"},
	} {
		x, err := Compile(c.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, text := range strings.Fields(c.yes) {
			if !x.Match(text) {
				t.Errorf("%s does not match %s", c.pattern, text)
			}
		}
		for _, text := range strings.Fields(c.no) {
			if x.Match(text) {
				t.Errorf("%s matches %s", c.pattern, text)
			}
		}
	}
}

func TestWhatIsNoExpressionIsSaid(t *testing.T) {
	for pattern, want := range map[string]string{
		"a(":             `expression "a(": missing )`,
		"a)":             `expression "a)": unexpected )`,
		"*":              `expression "*": nothing before *`,
		"a|+":            `expression "a|+": nothing before +`,
		"{2}":            `expression "{2}": nothing before {`,
		"[a":             `expression "[a": missing ]`,
		"[z-a]":          `expression "[z-a]": a range from 'z' down to 'a'`,
		"[[:vowel:]]":    `expression "[[:vowel:]]": unknown class [:vowel:]`,
		"a{3,2}":         `expression "a{3,2}": not a number of times: {3,2}`,
		"a{1001}":        `expression "a{1001}": not a number of times: {1001}`,
		`\y`:             `expression "\\y": unknown: \y`,
		`\`:              `expression "\\": unknown: \`,
		"\xff":           `expression "\xff": not text`,
		"(a{100}){1000}": `expression "(a{100}){1000}": too large`,
		strings.Repeat("(", 200) + strings.Repeat(")", 200): "too many brackets in brackets",
	} {
		if _, err := Compile(pattern); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", pattern, err, want)
		}
	}
}

func TestALongTextTakesNoLongerThanItsLength(t *testing.T) {
	x, err := Compile("^(a|aa)*(a|aa)*(a|aa)*c$") // a matcher that goes back would not come to an end
	if err != nil {
		t.Fatal(err)
	}
	if x.Match(strings.Repeat("a", 10000) + "b") {
		t.Error("it matches")
	}
}

// FuzzMatch compares with regexp.CompilePOSIX, which has more after a backslash and other limits, and takes a line for a text.
func FuzzMatch(f *testing.F) {
	for _, pattern := range []string{"^6\\.1", "a{2,3}|b*", "[[:alnum:]_-]+$", "[^]a-c]", "((a|b)?c)+", "a**", "^*", "$^", "[a-", "()", "a{0}", "\\.\\n", "[\\]-a]", "[[:^space:]]", "a{,2}", "x|", "[]-a]", "[--a]", "0{70}{20}"} {
		f.Add(pattern, "6.1.0-18-amd64 abcc")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if strings.Contains(text, "\n") || len(pattern) > 200 || len(text) > 1000 {
			return
		}
		x, err := Compile(pattern)
		theirs, want := regexp.CompilePOSIX(pattern)
		switch {
		case errors.Is(err, errTooLarge) || err != nil && strings.Contains(err.Error(), "too many"):
		case err == nil && want == nil:
			if got, want := x.Match(text), theirs.MatchString(text); got != want {
				t.Errorf("%q in %q: %v, want %v", pattern, text, got, want)
			}
		case err == nil && strings.Contains(want.Error(), "invalid repeat count"): // it multiplies those in one another
		case err == nil && strings.Contains(pattern, "(?:"):
		case err == nil && strings.ContainsAny(pattern, "dDwWsS") && strings.Contains(pattern, `\`):
		case err != nil && want == nil && strings.ContainsAny(pattern, "01234567x") && strings.Contains(pattern, `\`):
		case (err == nil) != (want == nil):
			t.Errorf("%q: error %v, want %v", pattern, err, want)
		}
	})
}
