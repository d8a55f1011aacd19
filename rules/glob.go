package rules

import "strings"

const globChars = "*?["

// glob says whether s matches a shell pattern as fnmatch(3) without flags does in the C locale: '*' also matches '/'
// and a leading dot, '\' quotes, and a '[' without its ']' is a '['. With fold, ASCII case does not count.
// It takes at most len(pattern)*len(s) steps.
func glob(pattern, s string, fold bool) bool {
	p, i := 0, 0
	star, mark := -1, 0 // the pattern behind the last '*', and how much of s that one has taken
	for {
		if p < len(pattern) {
			if pattern[p] == '*' {
				p++
				star, mark = p, i
				continue
			}
			if i < len(s) {
				if n := globOne(pattern[p:], s[i], fold); n > 0 {
					p += n
					i++
					continue
				}
			}
		} else if i == len(s) {
			return true
		}
		if star < 0 || mark >= len(s) {
			return false
		}
		mark++
		p, i = star, mark
	}
}

// globOne matches c against the pattern's first element and returns that element's length, or 0 when it does not match.
func globOne(pattern string, c byte, fold bool) int {
	switch pattern[0] {
	case '?':
		return 1
	case '[':
		if match, n := globSet(pattern, c, fold); n > 0 {
			if match {
				return n
			}
			return 0
		}
	case '\\':
		if len(pattern) == 1 {
			return 0
		}
		if same(pattern[1], c, fold) {
			return 2
		}
		return 0
	}
	if same(pattern[0], c, fold) {
		return 1
	}
	return 0
}

// globSet matches c against the bracket expression that pattern begins with. Its length is 0 when it has no end.
func globSet(pattern string, c byte, fold bool) (match bool, length int) {
	i := 1
	negate := false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		negate = true
		i++
	}
	for first := true; ; first = false {
		if i >= len(pattern) {
			return false, 0
		}
		if pattern[i] == ']' && !first {
			return match != negate, i + 1
		}
		if name, n := className(pattern[i:]); n > 0 {
			match = match || inClass(name, c, fold)
			i += n
			continue
		}
		low, n := setMember(pattern[i:])
		if n == 0 {
			return false, 0
		}
		i += n
		high := low
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			if high, n = setMember(pattern[i+1:]); n == 0 {
				return false, 0
			}
			i += 1 + n
		}
		if low <= c && c <= high {
			match = true
		} else if fold {
			l, u := lower(c), upper(c)
			match = match || low <= l && l <= high || low <= u && u <= high
		}
	}
}

// setMember returns the character at the start of s and how much of s it takes.
func setMember(s string) (byte, int) {
	if s[0] != '\\' {
		return s[0], 1
	}
	if len(s) == 1 {
		return 0, 0
	}
	return s[1], 2
}

// className returns the name in "[:name:]" at the start of s, and the length of it all.
func className(s string) (string, int) {
	if !strings.HasPrefix(s, "[:") {
		return "", 0
	}
	end := strings.Index(s, ":]")
	if end < 2 {
		return "", 0
	}
	return s[2:end], end + 2
}

func inClass(name string, c byte, fold bool) bool {
	isUpper, isLower := 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z'
	isDigit := '0' <= c && c <= '9'
	isPrint := ' ' < c && c < 0x7f
	switch name {
	case "alpha":
		return isUpper || isLower
	case "digit":
		return isDigit
	case "alnum":
		return isUpper || isLower || isDigit
	case "upper":
		return isUpper || fold && isLower
	case "lower":
		return isLower || fold && isUpper
	case "space":
		return isSpace(c)
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return isPrint && !isUpper && !isLower && !isDigit
	case "print":
		return isPrint || c == ' '
	case "graph":
		return isPrint
	case "cntrl":
		return c < ' ' || c == 0x7f
	case "xdigit":
		return isDigit || 'a' <= lower(c) && lower(c) <= 'f'
	}
	return false
}

func same(a, b byte, fold bool) bool { return a == b || fold && lower(a) == lower(b) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// isSpace is isspace(3) in the C locale.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// equalFold compares without ASCII case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}
