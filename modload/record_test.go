package modload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	r := &record{
		Pid:  314,
		Tree: "/run/booted system/lib/modules/6.1.0 \"x\"\n\xff\x00",
		Settings: []recordSetting{
			{Name: "module_root", Value: "/a:/b", Values: []string{"/a", "/b"}, Origin: "flag --module-root", Implicit: &recordImplicit{"/", "default"}},
			{Name: "firmware_path"},
		},
		Before: map[string]taken{
			"/proc/sys/kernel/modprobe":                  {KernelProgram, "/sbin/modprobe"},
			"/sys/module/firmware_class/parameters/path": {"/a/lib/firmware", ""},
		},
	}
	got, err := parseRecord(r.text())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Error(d)
	}
}

func TestALineThatIsNotOfARecordIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    `written by another version of kudev: it begins with "", not with "version 2"`,
		"{\n  \"version\": 1":                 `written by another version of kudev: it begins with "{", not with "version 2"`,
		"version 3\npid 1\n":                  `written by another version of kudev: it begins with "version 3", not with "version 2"`,
		"version 2\n":                         `no pid`,
		"version 2\npid 0\n":                  `line 2: "0" is no process`,
		"version 2\npid 1\ncolour \"red\"\n":  `line 3: not a line of a record: "colour \"red\""`,
		"version 2\npid 1\n\n":                `line 3: not a line of a record: ""`,
		"version 2\npid 1\ntree \"/a\n":       `line 3: not a string in quotes: " \"/a"`,
		"version 2\npid 1\ntree \"a\"\"b\"\n": `line 3: not a string in quotes: "\"b\""`,
		"version 2\npid 1\nvalues a \"b\"\n":  `line 3: not a line of a record: "values a \"b\""`,
		"version 2\npid 1\nsetting a \"b\"\n": `line 3: not a line of a record: "setting a \"b\""`,
	} {
		if _, err := parseRecord(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// FuzzRecord holds that whatever is read as a record is the same after it was written.
func FuzzRecord(f *testing.F) {
	f.Add("version 2\npid 1\ntree \"/\"\nsetting a \"b\" \"c\"\nvalues a \"\\xff\" \"\"\nimplicit a \"\" \"x\"\nbefore \"f\" \"o\" \"t\"\n")
	f.Add("version 2\npid 1\ntree \"\nsetting  \"b\"")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		again, err := parseRecord(r.text())
		if err != nil {
			t.Fatalf("%v, of\n%s", err, r.text())
		}
		if d := cmp.Diff(r, again); d != "" || strings.Count(r.text(), "\n") > strings.Count(text, "\n")+2 {
			t.Error(d)
		}
	})
}
