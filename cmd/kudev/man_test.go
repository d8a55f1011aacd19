package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kudev/kudev/modload"
)

// TestManualHasEveryCommandAndFlag holds the manual pages to what --help prints, both ways. A command's section is
// ".Ss kudev NAME" in one of the pages, or all of kudev-NAME.8; in it each flag begins an item: ".It Fl v , Fl Fl verbose".
func TestManualHasEveryCommandAndFlag(t *testing.T) {
	sections := manualSections(t)
	check := func(program string, c command, args ...string) {
		section, ok := sections[program+" "+c.name]
		if !ok {
			t.Errorf("cmd/kudev/man: no page has \".Ss %s %s\"", program, c.name)
			return
		}
		printed, written := flagsOfHelp(t, args), flagsOfPage(section.text)
		for _, f := range printed {
			if !slices.Contains(written, f) {
				t.Errorf("cmd/kudev/man/%s: %s of %s %s is not in it", section.page, f, program, c.name)
			}
		}
		for _, f := range written {
			if !slices.Contains(printed, f) && f != "-h" && f != "--help" {
				t.Errorf("cmd/kudev/man/%s: %s %s has no %s", section.page, program, c.name, f)
			}
		}
	}
	for _, c := range commands() {
		if c.short != "" && c.name != "help" && c.name != "version" && c.name != "udevadm" && c.name != "kmod" {
			check("kudev", c, c.name, "--help")
		}
		if page := helpOf(c.name).page + ".8"; !fileExists("man/" + page) {
			t.Errorf("the help of %s names %s, which is not there", c.name, page)
		}
	}
	for _, c := range udevadmCommands() {
		if _, own := findCommand(c.name); !own {
			check("udevadm", c, "udevadm", c.name, "--help")
		}
	}
}

// TestManualHasEverySetting holds kudev.conf(5) and the example file to the settings that there are.
func TestManualHasEverySetting(t *testing.T) {
	page, err := os.ReadFile("man/kudev.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("etc/kudev.conf")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := modload.Resolve(modload.Options{SystemRoot: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range cfg.Settings() {
		names = append(names, s.Name)
		if !regexp.MustCompile(`(?m)^#` + s.Name + ` = `).Match(example) {
			t.Errorf("cmd/kudev/etc/kudev.conf does not have %s", s.Name)
		}
		if value := s.Value; value != "" && s.Name != "release" && !strings.Contains(string(example), "#"+s.Name+" = "+value+"\n") {
			t.Errorf("cmd/kudev/etc/kudev.conf: the default of %s is %s", s.Name, value)
		}
	}
	var written []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Ic (\S+)`).FindAllStringSubmatch(string(page), -1) {
		written = append(written, m[1])
	}
	slices.Sort(names)
	slices.Sort(written)
	if !slices.Equal(names, written) {
		t.Errorf("kudev.conf(5) has %v, and there are %v", written, names)
	}
}

type manualSection struct{ page, text string }

// manualSections returns what the pages say of each command.
func manualSections(t *testing.T) map[string]manualSection {
	t.Helper()
	pages, err := filepath.Glob("man/*.8")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]manualSection{}
	for _, path := range pages {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page := filepath.Base(path)
		if name, ok := strings.CutPrefix(strings.TrimSuffix(page, ".8"), "kudev-"); ok {
			sections["kudev "+name] = manualSection{page, string(data)}
		}
		var open string
		own := map[string]string{}
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, ".Ss "); ok {
				open = strings.TrimSpace(name)
			} else if strings.HasPrefix(line, ".Sh ") {
				open = ""
			}
			own[open] += line
		}
		for name, text := range own {
			if strings.HasPrefix(name, "kudev ") || strings.HasPrefix(name, "udevadm ") {
				sections[name] = manualSection{page, text}
			}
		}
	}
	return sections
}

var flagName = regexp.MustCompile(`(?:^|[\s,])(--?[0-9A-Za-z][-0-9A-Za-z]*)`)

// flagsOfHelp returns the flags that --help prints: what stands in front of two blanks or a tab.
func flagsOfHelp(t *testing.T, args []string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	e := newEnv()
	e.stdout, e.stderr = &out, &errs
	e.options.SystemRoot = t.TempDir()
	if status := run(context.Background(), e, append([]string{"kudev"}, args...)); status != 0 {
		t.Errorf("kudev %s: exit status %d: %s", strings.Join(args, " "), status, errs.String())
	}
	var flags []string
	for line := range strings.Lines(out.String()) {
		text := strings.TrimLeft(line, " \t")
		if text == line || !strings.HasPrefix(text, "-") {
			continue
		}
		names, _, _ := strings.Cut(text, "  ")
		for _, m := range flagName.FindAllStringSubmatch(names, -1) {
			flags = append(flags, m[1])
		}
	}
	return flags
}

var flagMacro = regexp.MustCompile(`Fl (Fl )?([0-9A-Za-z][-0-9A-Za-z]*)`)

// flagsOfPage returns the flags that items begin with.
func flagsOfPage(text string) []string {
	var flags []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, ".It ") {
			continue
		}
		for _, m := range flagMacro.FindAllStringSubmatch(line, -1) {
			dashes := "-"
			if m[1] != "" {
				dashes = "--"
			}
			flags = append(flags, dashes+m[2])
		}
	}
	return flags
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
