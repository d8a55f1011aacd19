package hwdb

// Match says whether the text matches the pattern: '*', '?', sets in brackets with '!' or '^' in front for the
// opposite, classes such as [:digit:], and a backslash before a character that stands for itself. It is fnmatch(3)
// without flags, for bytes.
func Match[P, T []byte | string](pattern P, text T) bool {
	return match(pattern, text, true)
}

// MatchPlain is Match where a backslash is a character like any other.
func MatchPlain[P, T []byte | string](pattern P, text T) bool {
	return match(pattern, text, false)
}

func match[P, T []byte | string](pattern P, text T, escape bool) bool {
	p, t := 0, 0
	backP, backT := -1, 0 // where the last star stands, and up to where it has eaten
	for {
		if p < len(pattern) && pattern[p] == '*' {
			backP, backT = p, t
			p++
			continue
		}
		if t == len(text) {
			return p == len(pattern)
		}
		if n, ok := matchOne(pattern, p, text[t], escape); ok {
			p, t = p+n, t+1
			continue
		}
		if backP < 0 {
			return false
		}
		backT++
		p, t = backP+1, backT
	}
}

// matchOne compares one element of the pattern with a character and returns the element's length.
func matchOne[P []byte | string](pattern P, p int, c byte, escape bool) (int, bool) {
	if p == len(pattern) {
		return 0, false
	}
	switch pattern[p] {
	case '?':
		return 1, true
	case '[':
		if n, in, ok := set(pattern, p, c, escape); ok {
			return n, in
		}
	case '\\':
		if escape && p+1 < len(pattern) {
			return 2, pattern[p+1] == c
		}
		if escape {
			return 1, false
		}
	}
	return 1, pattern[p] == c
}

// set reads a bracket expression. It is none when its end is missing.
func set[P []byte | string](pattern P, start int, c byte, escape bool) (length int, in, ok bool) {
	i := start + 1
	negate := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negate {
		i++
	}
	for first := true; ; first = false {
		if i >= len(pattern) {
			return 0, false, false
		}
		if pattern[i] == ']' && !first {
			return i + 1 - start, in != negate, true
		}
		if pattern[i] == '[' && i+1 < len(pattern) && pattern[i+1] == ':' {
			if end := classEnd(pattern, i+2); end > 0 {
				in = in || class(string(pattern[i+2:end]), c)
				i = end + 2
				continue
			}
		}
		lo := pattern[i]
		if lo == '\\' && escape && i+1 < len(pattern) {
			i++
			lo = pattern[i]
		}
		i++
		hi := lo
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			i++
			hi = pattern[i]
			if hi == '\\' && escape && i+1 < len(pattern) {
				i++
				hi = pattern[i]
			}
			i++
		}
		in = in || lo <= c && c <= hi
	}
}

func classEnd[P []byte | string](pattern P, i int) int {
	for ; i+1 < len(pattern); i++ {
		if pattern[i] == ':' && pattern[i+1] == ']' {
			return i
		}
		if pattern[i] < 'a' || pattern[i] > 'z' {
			return 0
		}
	}
	return 0
}

func class(name string, c byte) bool {
	digit := c >= '0' && c <= '9'
	lower, upper := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z'
	switch name {
	case "alpha":
		return lower || upper
	case "digit":
		return digit
	case "alnum":
		return lower || upper || digit
	case "upper":
		return upper
	case "lower":
		return lower
	case "xdigit":
		return digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	case "space":
		return c == ' ' || c >= '\t' && c <= '\r'
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return c > ' ' && c < 0x7f && !(lower || upper || digit)
	case "print":
		return c >= ' ' && c < 0x7f
	case "graph":
		return c > ' ' && c < 0x7f
	case "cntrl":
		return c < ' ' || c == 0x7f
	}
	return false
}

// possible says whether any pattern that begins so can match a text: each literal piece between stars, as far as the
// beginning goes, is looked for from left to right. It may say yes where the answer is no.
func possible(pattern []byte, text string) bool {
	p, t := 0, 0
	backP, backT := -1, 0
	for p < len(pattern) {
		switch c := pattern[p]; {
		case c == '*':
			p++
			backP, backT = p, t
			continue
		case c == '[' || c == '\\':
			return true // not worth the effort
		case t < len(text) && (c == '?' || c == text[t]):
			p++
			t++
			continue
		}
		if backP < 0 || backT >= len(text) {
			return false
		}
		backT++
		p, t = backP, backT
	}
	return true
}
