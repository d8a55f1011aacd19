package rules

import (
	"slices"
	"strings"
	"testing"
)

// What udevadm verify says of each of these is its interface: see its test TEST-17-UDEV.udevadm-verify.
func TestVerifySaysWhatUdevadmSays(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{`=`, "1 Invalid key/value pair, ignoring."},
		{`ACTION{a}=="b"`, "1 Invalid attribute for ACTION."},
		{`ACTION:="b"`, "1 Invalid operator for ACTION."},
		{`ACTION=="b"`, "1 The line has no effect, ignoring."},
		{`SYMLINK:="%?"`, `1 Invalid value "%?" for SYMLINK (char 1: invalid substitution type), ignoring.`},
		{`NAME-="b"`, "1 Invalid operator for NAME."},
		{`NAME+="a"`, "1 NAME key takes '==', '!=', '=', or ':=' operator, assuming '='."},
		{`NAME:=""`, `1 Ignoring NAME="", as udev will not delete any network interfaces.`},
		{`NAME="%k"`, `1 Ignoring NAME="%k", as it will take no effect.`},
		{`ENV=="b"`, "1 Invalid attribute for ENV."},
		{`ENV{a}:="b"`, "1 ENV key takes '==', '!=', '=', or '+=' operator, assuming '='."},
		{`ENV{ACTION}="b"`, "1 Invalid ENV attribute. 'ACTION' cannot be set."},
		{`ENV{a}+=i"b"`, "1 Invalid prefix 'i' for 'ENV'. The 'i' prefix can be specified only for '==' or '!=' operator."},
		{`CONST{a}=="b"`, "1 Invalid attribute for CONST."},
		{`TAG:="a"`, "1 TAG key takes '==', '!=', '=', or '+=' operator, assuming '='."},
		{`SUBSYSTEM=="bus", NAME="b"`, `1 "bus" must be specified as "subsystem".`},
		{`ATTR{%}="b"`, `1 Invalid attribute "%" for ATTR (char 1: invalid substitution type), ignoring.`},
		{`ATTR{a}+="b"`, "1 ATTR key takes '==', '!=', or '=' operator, assuming '='."},
		{`SYSCTL{a}="%?"`, `1 Invalid value "%?" for SYSCTL (char 1: invalid substitution type), ignoring.`},
		{`ATTRS{device/}!="a", NAME="b"`, "1 'device' link may not be available in future kernels."},
		{`ATTRS{../}!="a", NAME="b"`, "1 Direct reference to parent sysfs directory, may break in future kernels."},
		{`TEST{a}=="b"`, "1 Failed to parse mode 'a': Invalid argument"},
		{`TEST{0}=="%", NAME="b"`, `1 Invalid value "%" for TEST (char 1: invalid substitution type), ignoring.`},
		{`PROGRAM==i"b"`, "1 Invalid prefix 'i' for PROGRAM."},
		{`IMPORT{a}="b"`, "1 Invalid attribute for IMPORT."},
		{`IMPORT{a}-="b"`, "1 Invalid operator for IMPORT."},
		{`IMPORT{builtin}!="foo"`, "1 Unknown builtin command: foo"},
		{`OPTIONS!="b"`, "1 Invalid operator for OPTIONS."},
		{`OPTIONS+="link_priority=a"`, "1 Failed to parse link priority 'a': Invalid argument"},
		{`OPTIONS:="log_level=a"`, "1 Failed to parse log level 'a': Invalid argument"},
		{`OPTIONS="a", NAME="b"`, "1 Invalid value for OPTIONS key, ignoring: 'a'"},
		{`OWNER+="0"`, "1 OWNER key takes '=' or ':=' operator, assuming '='."},
		{`OWNER="nosuchuser"`, "1 Unknown user 'nosuchuser', ignoring."},
		{`GROUP="nosuchgroup"`, "1 Unknown group 'nosuchgroup', ignoring."},
		{`MODE="%"`, `1 Invalid value "%" for MODE (char 1: invalid substitution type), ignoring.`},
		{`SECLABEL{a}:="b"`, "1 SECLABEL key takes '=' or '+=' operator, assuming '='."},
		{`RUN=="b"`, "1 Invalid operator for RUN."},
		{`RUN{builtin}+="foo"`, "1 Unknown builtin command 'foo', ignoring."},
		{`NAME="a", GOTO="b"`, `1 GOTO="b" has no matching label, ignoring.`},
		{"GOTO=\"a\", GOTO=\"b\"\nLABEL=\"a\"", `1 Contains multiple GOTO keys, ignoring GOTO="b".`},
		{`LABEL="b"`, `1 style: LABEL="b" is unused.`},
		{`a="b"`, "1 Invalid key 'a'."},
		{`KERNEL=="", KERNEL=="?*", NAME="a"`, "1 conflicting match expressions, the line has no effect."},
		{`KERNEL=="abc", KERNEL!="abc", NAME="b"`, "1 conflicting match expressions, the line has no effect."},
		{`KERNEL=="|a|b", KERNEL!="b|a|", NAME="c"`, "1 conflicting match expressions, the line has no effect."},
		{`KERNEL=="a|b", KERNEL=="c|d|e", NAME="f"`, "1 conflicting match expressions, the line has no effect."},
		{`ACTION=="a*|bc*", ACTION=="d*|ef*", NAME="g"`, "1 conflicting match expressions, the line has no effect."},
		{`KERNEL!="", KERNEL=="?*", NAME="a"`, "1 duplicate expressions."},
		{`KERNEL=="|a|b", KERNEL=="b|a|", NAME="c"`, "1 duplicate expressions."},
		{`,ACTION=="a", NAME="b"`, "1 style: stray leading comma."},
		{`ACTION=="a", NAME="b", `, "1 style: stray trailing comma."},
		{`ACTION=="a" NAME="b"`, "1 style: a comma between tokens is expected."},
		{`ACTION=="a",, NAME="b"`, "1 style: more than one comma between tokens."},
		{`ACTION=="a" , NAME="b"`, "1 style: stray whitespace before comma."},
		{`ACTION=="a",NAME="b"`, "1 style: whitespace after comma is expected."},
		{`RESULT=="a", PROGRAM="b"`, "1 Reordering RESULT check after PROGRAM assignment."},
		{`ACTION=="a"NAME="b"`, "1 style: a comma between tokens is expected.\n1 style: whitespace between tokens is expected."},
		{`GOTO="a"`, "1 GOTO=\"a\" has no matching label, ignoring.\n1 The line has no effect any more, dropping."},
		{"GOTO=\"b\"\nLABEL=\"b\"\nLABEL=\"b\"", `3 style: LABEL="b" is unused.`},
		{"GOTO=\"a\"\nLABEL=\"a\", LABEL=\"b\"", "2 Contains multiple LABEL keys, ignoring LABEL=\"a\".\n1 GOTO=\"a\" has no matching label, ignoring.\n1 The line has no effect any more, dropping.\n2 style: LABEL=\"b\" is unused."},
		{`KERNEL!="", KERNEL=="?*", KERNEL=="", NAME="a"`, "1 duplicate expressions.\n1 conflicting match expressions, the line has no effect."},
		{"\\", "1 Unexpected EOF after line continuation, line ignored."},

		{`KERNEL=="a|b", KERNEL=="a|c", NAME="d"`, ""},
		{`KERNEL=="a|b", KERNEL!="a|c", NAME="d"`, ""},
		{`KERNEL!="a", KERNEL!="b", NAME="c"`, ""},
		{`KERNEL=="|a", KERNEL=="|b", NAME="c"`, ""},
		{`KERNEL=="*", KERNEL=="a*", NAME="b"`, ""},
		{`KERNEL=="a*", KERNEL=="c*|ab*", NAME="d"`, ""},
		{`PROGRAM="a", RESULT=="b"`, ""},
		{"GOTO=\"a\"\nLABEL=\"a\"", ""},
		{`OWNER="12345"`, ""},
	} {
		_, problems := CheckFile("x", []byte(c.rules+"\n"), CheckOptions{Users: ReadUsers("/nope", "/nope")})
		var got []string
		for _, p := range problems {
			got = append(got, string(rune('0'+p.Rule))+" "+p.Udev)
		}
		if text := strings.Join(got, "\n"); text != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.rules, text, c.want)
		}
	}
}

func TestStrictFindsWhatIsSurelyNotMeant(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{`ACTION=="added", NAME="a"`, `1:1: ACTION=="added" never holds: the kernel says add, remove, change, move, online, offline, bind, unbind`},
		{`DEVPATH=="/sys/devices/x", NAME="a"`, `1:1: DEVPATH=="/sys/devices/x" never holds: the path begins behind /sys`},
		{`DEVPATH=="devices/x", NAME="a"`, `1:1: DEVPATH=="devices/x" never holds: the path begins with a slash`},
		{`ENV{DEVNAME}=="sda", TAG+="a"`, `1:1: ENV{DEVNAME}=="sda" never holds: DEVNAME begins with /dev/`},
		{`TAG=="?*", NAME="a"`, `1:1: TAG=="?*" looks at each one there is, and none is empty: it does not ask whether there is one`},
		{`RUN+="/nope/x --do"`, `1:1: there is no program "/nope/x"`},
		{`RUN+="/nope/x $kernel"`, `1:1: there is no program "/nope/x"`},
		{`MODE="rw-"`, `1:1: "rw-" is no mode: it is an octal number up to 7777`},
		{`SYMLINK+="../x"`, `1:1: a link named "../x" would lie outside /dev: it is refused`},
		{`ENV{A}=="$env{B}", NAME="a"`, `1:1: ENV{A}=="$env{B}": substitutions do not work in a value that is compared`},
		{"GOTO=\"a\"\nNAME=\"x\"\nLABEL=\"a\", NAME=\"y\"", `2:1: the line is never reached: a GOTO that always holds skips it`},
		{"KERNEL==\"a\", GOTO=\"a\"\nLABEL=\"a\", NAME=\"y\"", `1:1: GOTO="a" goes to the next line, where it would go anyway`},
	} {
		_, problems := CheckFile("x", []byte(c.rules+"\n"), CheckOptions{Strict: true, Program: func(string) bool { return false }})
		found := slices.ContainsFunc(problems, func(p Problem) bool { return p.Error() == "x:"+c.want })
		if !found || len(problems) > 1 {
			t.Errorf("%s\n got %v\nwant %s", c.rules, problems, c.want)
		}
	}
	_, problems := CheckFile("x", []byte("ACTION==\"add\", SUBSYSTEM==\"net\", NAME=\"a\"\n"), CheckOptions{Strict: true})
	if len(problems) > 0 {
		t.Errorf("a good line: %v", problems)
	}
}
