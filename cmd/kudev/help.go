package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// help is what a command's --help says beyond its flags.
type help struct {
	page     string // the manual page, without its section
	text     string // a sentence or two
	examples string // command lines, without the indentation
}

// helpOf returns it for a command of the table. The programs of kmod's have a help of their own, in kmod's manner.
func helpOf(name string) help {
	switch name {
	case "check":
		return help{"kudev-check", `
Each finding comes with its remedy. It also names the other tools of this
machine (modprobe, libkmod, kernel.modprobe, a udevd) that would look elsewhere.
Exit status 1 means that something is wrong that keeps modules from loading.`, `
kudev check
kudev check --module-root /mnt --release 6.1.0-56-amd64`}
	case "coldplug":
		return help{"kudev-coldplug", `
It returns when every device is handled, no module is being loaded and the
kernel has finished what it does in the background, and says what it waited for.
Without a daemon it is the daemon for that while. Exit status 1: a load failed,
a record could not be kept, or the time was up; the names follow.`, `
kudev coldplug
kudev coldplug --wait-for /dev/disk/by-label/root --timeout 30s`}
	case "config":
		return help{"kudev-check", `
While a daemon runs, the module root, the release and the firmware path are its.`, `
kudev config
kudev config --json | jq -r .tree`}
	case "daemon":
		return help{"kudev-daemon", `
It stays in the foreground, and tells that it listens on a descriptor or by
sd_notify. SIGHUP reads the configuration and the rules again, SIGTERM ends it.`, `
kudev daemon --ready-fd 3 --coldplug
kudev daemon --module-root /run/booted-system --module-root /run/current-system`}
	case "explain":
		return help{"kudev-explain", `
It names the modules for the device's modalias and what stops them, the rules
that match and what they do, and what the daemon did at its latest events.`, `
kudev explain /sys/class/net/eth0
kudev explain --all /dev/sda
kudev explain snd_hda_intel`}
	case "hwdb":
		return help{"kudev-test", `
update makes hwdb.bin of the hwdb.d files; query prints the properties of a
modalias, KEY=VALUE.`, `
kudev hwdb update
kudev hwdb query 'usb:v046DpC52B*'`}
	case "control", "lock", "test-builtin", "wait", "udevadm":
		return help{page: "kudev-udevadm"}
	case "info":
		return help{"kudev-udevadm", `
A device is a path in /sys, a node, or a link to one.`, `
kudev info /dev/sda
kudev info --attribute-walk /sys/class/net/eth0
kudev info --query=property --property=ID_FS_UUID --value /dev/sda1`}
	case "load":
		return help{"kudev-resolve", `
Given files are read in place of modules-load.d, /etc/modules and the kernel
command line. The modules are loaded side by side. Exit status 1: one failed.`, `
kudev load --dry-run
kudev load /etc/modules-load.d/net.conf`}
	case "modules":
		return help{"kudev-resolve", `
The list is closed: it has all that the modules need, and what is named beside
the devices. It is what an initramfs for this machine has to hold.`, `
kudev modules --files ext4 dm-crypt | cpio -o -H newc
kudev modules --from /mnt/saved/sys --release 6.1.0-56-amd64`}
	case "monitor":
		return help{"kudev-trigger", `
Without -k and -u it prints both kinds, until it is interrupted. --decisions
asks the daemon for what it did, the latest 1024 events, and does.`, `
kudev monitor --udev --property --subsystem-match block
kudev monitor --decisions --json
kudev monitor --match '{"action": "add", "env": {"SUBSYSTEM": "net"}}'`}
	case "plot":
		return help{"kudev-explain", `
It draws the daemon's journal, or what monitor --decisions --json has written.`, `
kudev plot >boot.svg
kudev plot --text --width 120`}
	case "record", "replay":
		return help{"kudev-explain", `
A recording is a JSON object a line. A replay handles its events one after the
other, for real, with directories that stand for /dev, /run and /sys.`, `
kudev record -o dock.json
mkdir /tmp/dev /tmp/run; kudev replay --dev /tmp/dev --run /tmp/run --rules-dir ./rules.d dock.json`}
	case "resolve":
		return help{"kudev-resolve", `
One line for each modalias: it, a tab, and its modules, or nothing after the tab.
Without arguments the modaliases are the lines of the standard input.`, `
kudev resolve pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00
cat /sys/bus/*/devices/*/modalias | kudev resolve`}
	case "seal":
		return help{"kudev-resolve", `
It holds for the daemon, the tools and the kernel's own requests, until the
machine is booted again. kudev.conf's allow lines say what may be loaded still.`, `
kudev seal`}
	case "settle":
		return help{"kudev-coldplug", `
It returns when every event that the kernel had sent by now is handled, with all
that it caused. Exit status 1: the time was up. Without a daemon it returns at
once, with 1 where --wait-for names what is not there.`, `
kudev settle --timeout 30
kudev settle --wait-for /dev/disk/by-label/data`}
	case "status":
		return help{"kudev-explain", `
Each received event becomes a handled one; lost events were dropped by the
kernel, and recovered ones found again by looking through /sys.`, `
kudev status
kudev status --json | jq .lost`}
	case "test":
		return help{"kudev-test", `
Nothing is changed, though PROGRAM and IMPORT run, unless --apply is given:
then the event is handled, with directories that may stand for /sys, /dev and /run.`, `
kudev test -v /sys/class/net/eth0
kudev test --apply --sysfs /tmp/sys --dev /tmp/dev --run /tmp/run --rules-dir /tmp/rules.d /devices/x`}
	case "trigger":
		return help{"kudev-trigger", `
A DEVICE is a path in /sys, a node, or a link to one, and brings those below it,
as a disk its partitions. Flags narrow what is announced: those of a kind are
alternatives, different ones must all hold. With neither it is every device.
Without a daemon kudev handles the events itself before it returns.`, `
kudev trigger /dev/sda
kudev trigger --action add --subsystem-match net --settle`}
	case "verify":
		return help{"kudev-test", `
Without files it checks the rules directories. Exit status 1: a file has a problem.`, `
kudev verify --strict /etc/udev/rules.d/70-mine.rules`}
	}
	return help{page: "kudev"}
}

// printHelp prints what --help does.
func (e *env) printHelp(flags *pflag.FlagSet) {
	h := helpOf(e.command.name)
	fmt.Fprintf(e.stdout, "usage: %s\n\n%s\n", e.usageLine(), e.command.short)
	if e.udevadm && e.command.name == "hwdb" { // another command than kudev's
		h.text, h.examples = "", ""
	}
	if h.text != "" {
		fmt.Fprintln(e.stdout, h.text)
	}
	if e.command.name == "udevadm" {
		fmt.Fprintln(e.stdout, "\nCommands:")
		for _, c := range udevadmCommands() {
			fmt.Fprintf(e.stdout, "  %-13s %s\n", c.name, c.short)
		}
	}
	if flags.HasAvailableFlags() {
		fmt.Fprintln(e.stdout)
		var t table
		flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names, text := describe(f)
				t.row("  "+names, text)
			}
		})
		t.print(e.stdout)
	}
	if h.examples != "" {
		fmt.Fprintln(e.stdout, "\nExamples:"+strings.ReplaceAll(h.examples, "\n", "\n  "))
	}
	fmt.Fprintf(e.stdout, "\nSee %s(8).\n", h.page)
}

// describe returns a flag's names with its argument, and what it does with the value it has of itself.
func describe(f *pflag.Flag) (names, text string) {
	arg, text := pflag.UnquoteUsage(f)
	names = "    --" + f.Name
	if f.Shorthand != "" {
		names = "-" + f.Shorthand + ", --" + f.Name
	}
	switch {
	case f.Value.Type() == "bool", f.Value.Type() == "boolfunc":
	case f.NoOptDefVal != "":
		names += "[=" + arg + "]"
	default:
		names += "=" + arg
	}
	switch f.DefValue {
	case "", "-1", "0", "[]", "false":
	default:
		text += " (default " + f.DefValue + ")"
	}
	return names, text
}
