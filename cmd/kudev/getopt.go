package main

import (
	"fmt"
	"strings"
)

// getoptOption is an option of one program. Several may share an id: they are one option under several names.
type getoptOption struct {
	id       string // what the program asks for
	short    byte   // 0: none
	long     string // "": none
	value    bool   // an argument is required
	optional bool   // an argument may be attached (-w5, --wait=5)
	absent   string // the value without one
}

// getoptResult is one option as it was given.
type getoptResult struct{ id, value string }

// getopt takes options from args as glibc's getopt_long does: bundled (-nav), with the argument attached or behind (-Cdir, -C dir, --config=dir,
// --config dir), long ones abbreviated as far as they stay unambiguous, and anywhere among the other arguments up to "--". With first set it
// stops at the first argument that is no option.
//
// pflag does not abbreviate, and its messages are others.
func getopt(options []getoptOption, args []string, first bool) (found []getoptResult, rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return found, append(rest, args...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, attached := strings.Cut(arg[2:], "=")
			o, err := longOption(options, name)
			if err != nil {
				return nil, nil, err
			}
			switch {
			case attached && !o.value && !o.optional:
				return nil, nil, fmt.Errorf("option '--%s' doesn't allow an argument", o.long)
			case o.value && !attached:
				if len(args) == 0 {
					return nil, nil, fmt.Errorf("option '--%s' requires an argument", o.long)
				}
				value, args = args[0], args[1:]
			case !attached:
				value = o.absent
			}
			found = append(found, getoptResult{o.id, value})
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				o, ok := shortOption(options, arg[i])
				if !ok {
					return nil, nil, fmt.Errorf("invalid option -- '%c'", arg[i])
				}
				if !o.value && !o.optional {
					found = append(found, getoptResult{o.id, o.absent})
					continue
				}
				value := arg[i+1:]
				if value == "" && o.optional {
					value = o.absent
				} else if value == "" {
					if len(args) == 0 {
						return nil, nil, fmt.Errorf("option requires an argument -- '%c'", arg[i])
					}
					value, args = args[0], args[1:]
				}
				found = append(found, getoptResult{o.id, value})
				break
			}
		case first:
			return found, append([]string{arg}, args...), nil
		default:
			rest = append(rest, arg)
		}
	}
	return found, rest, nil
}

func shortOption(options []getoptOption, c byte) (getoptOption, bool) {
	for _, o := range options {
		if o.short == c && c != 0 {
			return o, true
		}
	}
	return getoptOption{}, false
}

// longOption finds an option by its name or by an abbreviation that fits one alone.
func longOption(options []getoptOption, name string) (getoptOption, error) {
	var fits []getoptOption
	for _, o := range options {
		if o.long == name && name != "" {
			return o, nil
		}
		if o.long != "" && strings.HasPrefix(o.long, name) {
			fits = append(fits, o)
		}
	}
	if len(fits) == 0 {
		return getoptOption{}, fmt.Errorf("unrecognized option '--%s'", name)
	}
	for _, o := range fits {
		if o.id != fits[0].id {
			var b strings.Builder
			for _, o := range fits {
				fmt.Fprintf(&b, " '--%s'", o.long)
			}
			return getoptOption{}, fmt.Errorf("option '--%s' is ambiguous; possibilities:%s", name, b.String())
		}
	}
	return fits[0], nil
}
