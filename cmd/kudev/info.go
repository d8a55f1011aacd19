package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/json"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
)

// infoFlags are udevadm info's.
type infoFlags struct {
	query, prefix, idOf                                  string
	paths, names, properties                             []string
	root, walk, tree, export, exportDB, cleanup, asValue bool
	json                                                 string
	wait                                                 *timeout
	waitFor                                              string
}

// runInfo shows what is known of devices: of sysfs and of the records.
func runInfo(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("info", pflag.ContinueOnError)
	f := &infoFlags{}
	flags.StringVarP(&f.query, "query", "q", "all", "print `WHAT`: name, symlink, path, property or all")
	flags.StringArrayVarP(&f.paths, "path", "p", nil, "the device of this `PATH` in sysfs")
	flags.StringArrayVarP(&f.names, "name", "n", nil, "the device of this node or link `NAME`")
	flags.BoolVarP(&f.root, "root", "r", false, "names begin with /dev/")
	flags.BoolVarP(&f.walk, "attribute-walk", "a", false, "print the attributes of the device and of those above it, as rules match them")
	flags.BoolVarP(&f.tree, "tree", "t", false, "print the device and those below it, or all, as a tree")
	flags.BoolVarP(&f.export, "export", "x", false, "print properties as shell assignments")
	flags.StringVarP(&f.prefix, "export-prefix", "P", "", "`PREFIX` the names of exported properties")
	flags.StringVarP(&f.idOf, "device-id-of-file", "d", "", "print the number of the device that `FILE` lies on")
	flags.BoolVarP(&f.exportDB, "export-db", "e", false, "print all devices")
	flags.BoolVarP(&f.cleanup, "cleanup-db", "c", false, "remove all records")
	flags.StringArrayVar(&f.properties, "property", nil, "only the properties `NAME[,NAME...]`")
	flags.BoolVar(&f.asValue, "value", false, "print values without their names")
	flags.StringVar(&f.json, "json", "off", "print JSON, `FORM`: short, pretty or off")
	flags.Lookup("json").NoOptDefVal = "pretty"
	flags.StringVarP(&f.waitFor, "wait-for-initialization", "w", "", "wait until the device has been handled, at most `SECONDS`")
	flags.Lookup("wait-for-initialization").NoOptDefVal = "infinity"
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if f.properties != nil { // pflag's own lists are CSV, of which 17 KB would be linked
		f.properties = strings.Split(strings.Join(f.properties, ","), ",")
	}
	f.export = f.export || flags.Changed("export-prefix")
	if !slices.Contains([]string{"name", "symlink", "path", "property", "all"}, f.query) {
		return misuse("unknown query type %q", f.query)
	}
	if !slices.Contains([]string{"off", "short", "pretty"}, f.json) {
		return misuse("unknown JSON form %q", f.json)
	}
	if f.json != "off" && (f.walk || f.tree) {
		return misuse("--json is of properties: it does not go with --attribute-walk or --tree")
	}
	if f.waitFor != "" {
		if err := new(timeout).Set(f.waitFor); err != nil {
			return misuse("option '--wait-for-initialization': %v", err)
		}
	}
	switch {
	case f.cleanup:
		return e.cleanupDB()
	case f.exportDB:
		return e.exportDB(ctx, f)
	case f.idOf != "":
		return e.deviceOfFile(f)
	}
	var wanted []string
	for _, p := range f.paths {
		if !strings.HasPrefix(p, "/") {
			p = "/" + p
		}
		wanted = append(wanted, p)
	}
	for _, n := range f.names {
		if !strings.HasPrefix(n, "/") {
			n = "/dev/" + n
		}
		wanted = append(wanted, n)
	}
	wanted = append(wanted, rest...)
	if len(wanted) == 0 {
		if f.tree {
			return e.infoTree(ctx, "")
		}
		return misuse("a device name or path is wanted")
	}
	var failed error
	for _, name := range wanted {
		dev, err := e.findDevice(name)
		if err == nil && f.waitFor != "" {
			err = e.untilHandled(ctx, dev.Devpath(), f.waitFor)
		}
		switch {
		case err == nil && f.tree:
			err = e.infoTree(ctx, dev.Devpath())
		case err == nil:
			err = e.info(f, dev.Devpath())
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("no such device")
			}
			fmt.Fprintf(e.stderr, "%s: %s: %v\n", e.name, name, err)
			failed = exitStatus(1)
		}
	}
	return failed
}

// deviceOfFile prints the number of the device that a file lies on.
func (e *env) deviceOfFile(f *infoFlags) error {
	var st unix.Stat_t
	if err := unix.Stat(f.idOf, &st); err != nil {
		return fmt.Errorf("%s: %w", f.idOf, err)
	}
	major, minor := unix.Major(st.Dev), unix.Minor(st.Dev)
	if !f.export {
		_, err := fmt.Fprintf(e.stdout, "%d:%d\n", major, minor)
		return err
	}
	prefix := cmp.Or(f.prefix, "INFO_")
	_, err := fmt.Fprintf(e.stdout, "%sMAJOR=%d\n%sMINOR=%d\n", prefix, major, prefix, minor)
	return err
}

// findDevice finds a device, or another directory of sysfs that udev speaks of, by its path, its node or a link to it, or its
// name in udev's database.
func (e *env) findDevice(name string) (*hotplug.Device, error) {
	if strings.HasPrefix(name, "/") {
		if name = path.Clean(name); !strings.HasPrefix(name, "/dev/") {
			return e.roots.Device(name)
		}
	}
	item, err := e.lookupDevice(name)
	if err != nil {
		return nil, err
	}
	return e.roots.Device(item.Devpath)
}

// untilHandled waits for the device's record.
func (e *env) untilHandled(ctx context.Context, devpath, limit string) error {
	var t timeout
	if err := t.Set(limit); err != nil {
		return usageError{err}
	}
	ctx, cancel := t.context(ctx)
	defer cancel()
	for {
		dev, err := e.roots.Device(devpath)
		if err != nil {
			return err
		}
		if _, err := dev.Record(); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("it is not handled after %v", t.d)
		}
	}
}

func (e *env) info(f *infoFlags, devpath string) error {
	dev, err := e.roots.Device(devpath)
	if err != nil {
		return err
	}
	if f.walk {
		return attributeWalk(e.stdout, dev)
	}
	rec, err := dev.Record()
	if err != nil {
		rec = &hotplug.Record{}
	}
	if f.json != "off" {
		return e.infoJSON(f, dev, rec)
	}
	root := ""
	if f.root {
		root = "/dev/"
	}
	switch f.query {
	case "name":
		if dev.Devname() == "" {
			return errors.New("it has no node")
		}
		_, err = fmt.Fprintln(e.stdout, root+dev.Devname())
	case "symlink":
		links := slices.Clone(rec.Links)
		for i := range links {
			links[i] = root + links[i]
		}
		_, err = fmt.Fprintln(e.stdout, strings.Join(links, " "))
	case "path":
		_, err = fmt.Fprintln(e.stdout, dev.Devpath())
	case "property":
		var b strings.Builder
		for _, p := range deviceProperties(dev, rec) {
			if len(f.properties) > 0 && !slices.Contains(f.properties, p.Key) {
				continue
			}
			switch {
			case f.export:
				fmt.Fprintf(&b, "%s%s='%s'\n", f.prefix, p.Key, p.Value)
			case f.asValue:
				fmt.Fprintln(&b, p.Value)
			default:
				fmt.Fprintf(&b, "%s=%s\n", p.Key, p.Value)
			}
		}
		_, err = io.WriteString(e.stdout, b.String())
	default:
		_, err = io.WriteString(e.stdout, deviceRecord(dev, rec)+"\n")
	}
	return err
}

// deviceProperties are the device's own, then those of its record, as sd-device gives them.
func deviceProperties(dev *hotplug.Device, rec *hotplug.Record) []hotplug.Pair {
	if dev.Subsystem() == "" { // a mere directory
		return nil
	}
	var list []hotplug.Pair
	set := func(key, value string) {
		for i := range list {
			if list[i].Key == key {
				list[i].Value = value
				return
			}
		}
		list = append(list, hotplug.Pair{Key: key, Value: value})
	}
	set("DEVPATH", dev.Devpath())
	for k, v := range dev.Properties() {
		if k == "DEVNAME" && !strings.HasPrefix(v, "/dev/") {
			v = "/dev/" + v
		}
		set(k, v)
	}
	if d := dev.Driver(); d != "" {
		set("DRIVER", d)
	}
	if rec.Initialized > 0 {
		set("USEC_INITIALIZED", fmt.Sprint(rec.Initialized.Microseconds()))
	}
	for _, p := range rec.Properties {
		set(p.Key, p.Value)
	}
	if len(rec.Links) > 0 {
		set("DEVLINKS", "/dev/"+strings.Join(rec.Links, " /dev/"))
	}
	if len(rec.Tags) > 0 {
		set("TAGS", ":"+strings.Join(rec.Tags, ":")+":")
	}
	if len(rec.CurrentTags) > 0 {
		set("CURRENT_TAGS", ":"+strings.Join(rec.CurrentTags, ":")+":")
	}
	return list
}

// deviceRecord is the whole device, a line a fact. See udevadm(8), "info".
func deviceRecord(dev *hotplug.Device, rec *hotplug.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "P: %s\nM: %s\n", dev.Devpath(), dev.Sysname())
	line := func(letter, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", letter, value)
		}
	}
	line("R", dev.Sysnum())
	line("U", dev.Subsystem())
	line("T", dev.Devtype())
	if num, ok := dev.Devnum(); ok {
		kind := "c"
		if dev.IsBlock() {
			kind = "b"
		}
		line("D", kind+" "+num.String())
	}
	if n := dev.Ifindex(); n > 0 {
		line("I", fmt.Sprint(n))
	}
	if dev.Devname() != "" {
		line("N", dev.Devname())
		fmt.Fprintf(&b, "L: %d\n", rec.Priority)
		for _, l := range rec.Links {
			line("S", l)
		}
	}
	if seq, ok := dev.Property("DISKSEQ"); ok {
		line("Q", seq)
	}
	line("V", dev.Driver())
	for _, p := range deviceProperties(dev, rec) {
		fmt.Fprintf(&b, "E: %s=%s\n", p.Key, p.Value)
	}
	return b.String()
}

func (e *env) infoJSON(f *infoFlags, dev *hotplug.Device, rec *hotplug.Record) error {
	props := map[string]string{}
	for _, p := range deviceProperties(dev, rec) {
		if len(f.properties) == 0 || slices.Contains(f.properties, p.Key) {
			props[p.Key] = p.Value
		}
	}
	if f.json == "short" {
		return json.Write(e.stdout, props)
	}
	return e.writeJSON(props)
}

func (e *env) exportDB(ctx context.Context, f *infoFlags) error {
	items, err := coldplug.Walk(ctx, e.roots, coldplug.Devices)
	if err != nil {
		return err
	}
	sort.Slice(items, func(a, b int) bool { return items[a].Devpath < items[b].Devpath })
	for _, item := range items {
		g := *f
		g.query = "all"
		if err := e.info(&g, item.Devpath); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// cleanupDB removes the records, with their links' and tags' files, but for those that are to outlive the initramfs. The
// daemon's watches are left to it.
func (e *env) cleanupDB() error {
	dir := filepath.Join(e.roots.RunDir(), "udev")
	var errs []error
	remove := func(name string) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	kept := make(map[string]bool)
	entries, _ := os.ReadDir(dir + "/data")
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode()&os.ModeSticky != 0 {
			kept[entry.Name()] = true
			continue
		}
		remove(filepath.Join(dir, "data", entry.Name()))
	}
	for _, of := range []string{"links", "tags"} {
		folders, _ := os.ReadDir(filepath.Join(dir, of))
		for _, folder := range folders {
			name := filepath.Join(dir, of, folder.Name())
			entries, _ := os.ReadDir(name)
			for _, entry := range entries {
				if !kept[entry.Name()] {
					remove(filepath.Join(name, entry.Name()))
				}
			}
			os.Remove(name) // when nothing is left
		}
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(dir, "static_node-tags")))...)
}

// attributeWalk prints a device's attributes, and those of the devices above it, as rules match them.
func attributeWalk(w io.Writer, dev *hotplug.Device) error {
	var b strings.Builder
	b.WriteString("\nUdevadm info starts with the device specified by the devpath and then\n" +
		"walks up the chain of parent devices. It prints for every device\n" +
		"found, all possible attributes in the udev rules key format.\n" +
		"A rule to match, can be composed by the attributes of the device\n" +
		"and the attributes from one single parent device.\n\n")
	word, s := "device", ""
	for ; dev != nil; dev = dev.Parent() {
		fmt.Fprintf(&b, "  looking at %s '%s':\n    KERNEL%s==\"%s\"\n    SUBSYSTEM%s==\"%s\"\n    DRIVER%s==\"%s\"\n",
			word, dev.Devpath(), s, dev.Sysname(), s, dev.Subsystem(), s, dev.Driver())
		names := attributeNames(dev, "")
		slices.Sort(names)
		for _, name := range names {
			value, err := dev.Attr(name)
			switch {
			case errors.Is(err, fs.ErrPermission):
				value = "(not readable)"
			case err != nil, strings.HasPrefix(value, "/"), !printable(value):
				continue
			}
			fmt.Fprintf(&b, "    ATTR%s{%s}==\"%s\"\n", s, name, value)
		}
		b.WriteByte('\n')
		word, s = "parent device", "S"
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// unshown are the attributes of which the walk speaks elsewhere, or that are no rule's business.
var unshown = []string{"uevent", "dev", "modalias", "resource", "driver", "subsystem", "module"}

// attributeNames lists the files of a device, and of its folders that are no devices.
func attributeNames(dev *hotplug.Device, folder string) []string {
	entries, _ := dev.ReadDir(folder)
	var names []string
	for _, entry := range entries {
		name := filepath.Join(folder, entry)
		mode, err := dev.Stat(name)
		if err != nil {
			continue
		}
		switch {
		case slices.Contains(unshown, name):
		case mode.IsDir():
			if _, err := dev.Readlink(name); err == nil {
				continue
			}
			if _, err := dev.Stat(name + "/uevent"); err != nil && strings.Count(name, "/") < 3 {
				names = append(names, attributeNames(dev, name)...)
			}
		case mode.IsRegular() && mode&0o600 != 0:
			names = append(names, name)
		}
	}
	return names
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
