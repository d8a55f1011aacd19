package hotplug_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// disks makes a tree of disks sda, sdb… with plain files as their nodes.
func disks(t testing.TB, names ...string) hotplug.Roots {
	t.Helper()
	var text strings.Builder
	for i, name := range names {
		fmt.Fprintf(&text, "/devices/virtual/block/%s subsystem=block dev=8:%d\n\tuevent DEVNAME=%s\n\tuevent DEVTYPE=disk\n", name, 16*i, name)
	}
	roots := hotplugtest.Tree(t, text.String())
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(roots.Dev, name), nil, 0o600))
	}
	return roots
}

func store(t testing.TB, roots hotplug.Roots) *hotplug.Store {
	t.Helper()
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	must(t, err)
	return s
}

func apply(t testing.TB, s *hotplug.Store, roots hotplug.Roots, action, name string, res *hotplug.Result) *hotplug.Applied {
	t.Helper()
	ev := hotplugtest.Event(t, roots, action, "/devices/virtual/block/"+name, "SEQNUM=5")
	applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), res)
	must(t, err)
	return applied
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	return string(text)
}

func target(t testing.TB, name string) string {
	t.Helper()
	text, err := os.Readlink(name)
	if err != nil {
		return "none"
	}
	return text
}

// without drops what differs from run to run.
func withoutTime(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "I:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestResultIsKeptInUdevsFormats(t *testing.T) {
	roots := disks(t, "sda")
	s := store(t, roots)
	mode := fs.FileMode(0o640)
	gid := uint32(os.Getgid())
	applied := apply(t, s, roots, "add", "sda", &hotplug.Result{
		Node:  hotplug.NodeResult{GID: &gid, Mode: &mode},
		Links: []string{"disk/by-id/ata-x", "disk/by-path/pci-1"}, Priority: -5, Tags: []string{"systemd", "seat"},
		Properties: []hotplug.Property{{Key: "ACTION", Value: "add"}, {Key: "DEVNAME", Value: "sda"}, {Key: "ID_BUS", Value: "ata\nV:9", Stored: true},
			{Key: ".HIDDEN", Value: "1"}},
	})
	record := read(t, roots.Run+"/udev/data/b8:0")
	if want := "S:disk/by-id/ata-x\nS:disk/by-path/pci-1\nL:-5\nE:ID_BUS=ata V:9\nG:systemd\nG:seat\nQ:systemd\nQ:seat\nV:1\n"; withoutTime(record) != want {
		t.Errorf("record is\n%s", record)
	}
	want := []string{
		"dev/block/8:0 -> ../sda",
		"dev/disk/by-id/ata-x -> ../../sda",
		"dev/disk/by-path/pci-1 -> ../../sda",
		"dev/sda -rw-r----- 0",
		fmt.Sprintf("run/udev/data/b8:0 -rw-r--r-- %d", len(record)),
		`run/udev/links/disk\x2fby-id\x2fata-x/b8:0 -> -5:/dev/sda`,
		`run/udev/links/disk\x2fby-path\x2fpci-1/b8:0 -> -5:/dev/sda`,
		"run/udev/tags/seat/b8:0 -r--r--r-- 0",
		"run/udev/tags/systemd/b8:0 -r--r--r-- 0",
		"run/udev/watch/",
	}
	if got := kept(t, roots); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	var seen []string
	for _, p := range applied.Properties {
		if p.Key != "USEC_INITIALIZED" {
			seen = append(seen, p.Key+"="+p.Value)
		}
	}
	if got, want := strings.Join(seen, "|"), "UDEV_DATABASE_VERSION=1|ACTION=add|DEVPATH=/devices/virtual/block/sda|SUBSYSTEM=block|SEQNUM=5|DEVNAME=/dev/sda|ID_BUS=ata\nV:9|"+
		"DEVLINKS=/dev/disk/by-id/ata-x /dev/disk/by-path/pci-1|TAGS=:systemd:seat:|CURRENT_TAGS=:systemd:seat:"; got != want {
		t.Errorf("listeners see %s", got)
	}
}

// kept lists what lies in /dev and /run.
func kept(t testing.TB, roots hotplug.Roots) []string {
	t.Helper()
	var all []string
	for _, name := range hotplugtest.Files(t, filepath.Dir(roots.Dev)) {
		if !strings.HasPrefix(name, "sys/") {
			all = append(all, name)
		}
	}
	return all
}

func TestRemoveLeavesNothing(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	s := store(t, roots)
	before := kept(t, roots)
	apply(t, s, roots, "add", "sda", &hotplug.Result{Links: []string{"disk/by-id/x", "y"}, Tags: []string{"t"}, Watch: true})
	ev := hotplugtest.Event(t, roots, "remove", "/devices/virtual/block/sda")
	hotplugtest.Remove(t, roots, "/devices/virtual/block/sda")
	applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Tags: []string{"late"}}) // of a rule for every action
	must(t, err)
	told := map[string]string{}
	for _, p := range applied.Properties {
		told[p.Key] = p.Value
	}
	if told["DEVLINKS"] != "/dev/disk/by-id/x /dev/y" || told["TAGS"] != ":t:late:" || told["CURRENT_TAGS"] != ":t:late:" || told["USEC_INITIALIZED"] == "" {
		t.Errorf("listeners see %v", told)
	}
	before[slices.Index(before, "run/udev/tags/")] += "t/"
	if got := kept(t, roots); !slices.Equal(got, before) {
		t.Errorf("left:\n%s\nbefore:\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
	}
	if !slices.Equal(applied.Dropped, []string{"disk/by-id/x", "y"}) {
		t.Errorf("dropped %v", applied.Dropped)
	}
}

func TestTagsOfBeforeStayInG(t *testing.T) {
	roots := disks(t, "sda")
	s := store(t, roots)
	first := apply(t, s, roots, "add", "sda", &hotplug.Result{Tags: []string{"a", "b"}}).Record.Initialized
	second := apply(t, s, roots, "change", "sda", &hotplug.Result{Tags: []string{"b", "c"}, Persist: true}).Record.Initialized
	if got := withoutTime(read(t, roots.Run+"/udev/data/b8:0")); got != "G:a\nG:b\nG:c\nQ:b\nQ:c\nV:1\n" {
		t.Errorf("record\n%s", got)
	}
	if first != second || first == 0 {
		t.Errorf("initialized at %v, then at %v", first, second)
	}
	if info, err := os.Stat(roots.Run + "/udev/data/b8:0"); err != nil || info.Mode() != 0o644|fs.ModeSticky {
		t.Errorf("a record that outlives the initramfs has mode %v, %v", info.Mode(), err)
	}
}

func TestContestedLinkGoesByPriority(t *testing.T) {
	roots := disks(t, "sda", "sdb", "sdc")
	s := store(t, roots)
	link := func(name string, priority int) *hotplug.Applied {
		return apply(t, s, roots, "change", name, &hotplug.Result{Links: []string{"disk/by-label/root"}, Priority: priority})
	}
	at := roots.Dev + "/disk/by-label/root"
	steps := []struct {
		do   func()
		want string
	}{
		{func() { link("sda", 0) }, "../../sda"},
		{func() { link("sdb", 0) }, "../../sdb"}, // of equals the latest has it
		{func() { link("sdc", -1) }, "../../sdb"},
		{func() { link("sda", 0) }, "../../sda"},
		{func() { s = store(t, roots) }, "../../sda"}, // after a restart too
		{func() { apply(t, s, roots, "remove", "sdc", &hotplug.Result{}) }, "../../sda"},
		{func() { link("sdb", 10) }, "../../sdb"},
		{func() { link("sdc", 5) }, "../../sdb"},
		{func() { link("sda", 0) }, "../../sdb"},
		{func() { apply(t, s, roots, "remove", "sdb", &hotplug.Result{}) }, "../../sdc"},
		{func() { s = store(t, roots) }, "../../sdc"},
		{func() { apply(t, s, roots, "change", "sdc", &hotplug.Result{}) }, "../../sda"},
		{func() { apply(t, s, roots, "remove", "sda", &hotplug.Result{}) }, "none"},
	}
	for i, step := range steps {
		step.do()
		if got := target(t, at); got != step.want {
			t.Fatalf("step %d: link is %s, want %s", i, got, step.want)
		}
	}
	if _, err := os.Lstat(roots.Dev + "/disk"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory is left: %v", err)
	}
}

func TestALinkWhereANodeIsIsNotMadeAndIsNoFailure(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	s := store(t, roots)
	applied := apply(t, s, roots, "add", "sda", &hotplug.Result{Links: []string{"sda", "sdb", "x"}})
	if !slices.Equal(applied.Links, []string{"x"}) || !slices.Equal(applied.Taken, []string{"sdb"}) { // its own node is no complaint
		t.Errorf("links %v, taken %v", applied.Links, applied.Taken)
	}
	if got := withoutTime(read(t, roots.Run+"/udev/data/b8:0")); got != "S:sda\nS:sdb\nS:x\nV:1\n" {
		t.Errorf("record\n%s", got)
	}
	apply(t, s, roots, "remove", "sda", &hotplug.Result{})
	for _, name := range []string{"sda", "sdb"} {
		if _, err := os.Lstat(roots.Dev + "/" + name); err != nil {
			t.Error(err)
		}
	}
}

// Two processes that share a /run decide by what the other has left there by then.
func TestSharedStoresAgreeAboutAContestedLink(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	open := func() *hotplug.Store {
		s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{Shared: true})
		must(t, err)
		return s
	}
	at := roots.Dev + "/x"
	one, two := open(), open()
	apply(t, one, roots, "add", "sda", &hotplug.Result{Links: []string{"x"}, Priority: 5})
	apply(t, two, roots, "add", "sdb", &hotplug.Result{Links: []string{"x"}})
	if got := target(t, at); got != "sda" {
		t.Errorf("link is %s", got)
	}
	apply(t, one, roots, "remove", "sda", &hotplug.Result{})
	if got := target(t, at); got != "sdb" {
		t.Errorf("link is %s", got)
	}
	apply(t, two, roots, "remove", "sdb", &hotplug.Result{})
	if got := target(t, at); got != "none" {
		t.Errorf("link is %s", got)
	}
}

func TestManyDisksContendForOneLink(t *testing.T) {
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("sd%d", i))
	}
	roots := disks(t, names...)
	s := store(t, roots)
	var wg sync.WaitGroup
	for round := range 3 {
		for i, name := range names {
			ev := hotplugtest.Event(t, roots, "change", "/devices/virtual/block/"+name)
			wg.Go(func() {
				_, err := s.Apply(context.Background(), ev, roots.EventDevice(ev), &hotplug.Result{Links: []string{"a/b/contested", "a/b/own" + name}, Priority: i * (round % 2)})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for _, name := range names {
		ev := hotplugtest.Event(t, roots, "remove", "/devices/virtual/block/"+name)
		wg.Go(func() {
			if _, err := s.Apply(context.Background(), ev, roots.EventDevice(ev), &hotplug.Result{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, name := range kept(t, roots) {
		if strings.Contains(name, "contested") || strings.Contains(name, "own") || strings.Contains(name, ".#") {
			t.Errorf("left: %s", name)
		}
	}
}

func TestHostileNamesStayWithinTheRoots(t *testing.T) {
	roots := disks(t, "sda")
	s := store(t, roots)
	outside := filepath.Join(filepath.Dir(roots.Dev), "outside")
	must(t, os.Mkdir(outside, 0o755))
	must(t, os.Symlink(outside, roots.Dev+"/way"))
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/block/sda")
	_, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{
		Links: []string{"../outside/a", "/etc/a", "way/a", "", ".", "a/../../b", "sda", "line\nS:forged", "good"}, Tags: []string{"../../x", "ok"},
	})
	for _, word := range []string{`"../outside/a"`, `"/etc/a"`, "way/a", `"a/../../b"`, `"line\nS:forged"`, `"../../x"`} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no word of %s: %v", word, err)
		}
	}
	if names, _ := os.ReadDir(outside); len(names) != 0 {
		t.Errorf("outside holds %v", names)
	}
	if target(t, roots.Dev+"/good") != "sda" {
		t.Error("one bad name kept the others from being made")
	}
	if record := read(t, roots.Run+"/udev/data/b8:0"); strings.Contains(record, "..") || !strings.Contains(record, "S:good\n") {
		t.Errorf("record\n%s", record)
	}
}

func TestNodeOfAnotherDeviceIsLeftAlone(t *testing.T) {
	roots := disks(t, "sda")
	outside := filepath.Join(filepath.Dir(roots.Dev), "precious")
	must(t, os.WriteFile(outside, nil, 0o600))
	must(t, os.Remove(roots.Dev+"/sda"))
	must(t, os.Symlink(outside, roots.Dev+"/sda"))
	mode := fs.FileMode(0o666)
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/block/sda")
	applied, err := store(t, roots).Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Node: hotplug.NodeResult{Mode: &mode}})
	must(t, err)
	if applied.Others == nil || !strings.Contains(applied.Others.Error(), "left alone") {
		t.Errorf("got %v", applied.Others)
	}
	if info, _ := os.Stat(outside); info.Mode() != 0o600 {
		t.Errorf("the link's target has mode %v", info.Mode())
	}
}

func TestHostileNodeNameIsNone(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/x subsystem=test dev=5:5\n\tuevent DEVNAME=../../precious\n")
	precious := filepath.Join(filepath.Dir(roots.Dev), "precious")
	must(t, os.WriteFile(precious, nil, 0o600))
	mode := fs.FileMode(0o666)
	ev := hotplugtest.Event(t, roots, "add", "/devices/x")
	_, err := store(t, roots).Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Node: hotplug.NodeResult{Mode: &mode}, Links: []string{"link"}})
	must(t, err)
	if info, _ := os.Stat(precious); info.Mode() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	if names, _ := os.ReadDir(roots.Dev); len(names) != 0 {
		t.Errorf("made %v", names)
	}
}

func TestModeWithoutARule(t *testing.T) {
	gid := uint32(os.Getgid())
	if gid == 0 { // the group of root asks for nothing
		gid = 5
	}
	for _, c := range []struct {
		name, uevent string
		res          hotplug.NodeResult
		want         fs.FileMode
	}{
		{"nothing said", "", hotplug.NodeResult{}, 0o600},
		{"kernel's word", "DEVMODE=0666", hotplug.NodeResult{}, 0o666},
		{"group, kernel's word", "DEVMODE=0444", hotplug.NodeResult{GID: &gid}, 0o444},
		{"group alone", "", hotplug.NodeResult{GID: &gid}, 0o660},
	} {
		roots := disks(t, "sda")
		if c.uevent != "" {
			hotplugtest.Add(t, roots, "/devices/virtual/block/sda\n\tuevent "+c.uevent)
		}
		apply(t, store(t, roots), roots, "add", "sda", &hotplug.Result{Node: c.res})
		if info, err := os.Stat(roots.Dev + "/sda"); err != nil || info.Mode() != c.want {
			t.Errorf("%s: mode %v, want %v", c.name, info.Mode(), c.want)
		}
	}
}

func TestUnwritableRunStopsNothingElse(t *testing.T) {
	roots := disks(t, "sda")
	roots.Run += "/missing"
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	if err == nil {
		t.Error("no word of the missing /run")
	}
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/block/sda")
	applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Links: []string{"x"}, Tags: []string{"t"}})
	if err == nil || !strings.Contains(err.Error(), "/devices/virtual/block/sda") {
		t.Errorf("got %v", err)
	}
	if target(t, roots.Dev+"/x") != "sda" || applied == nil {
		t.Error("the link was not made")
	}
	ev = hotplugtest.Event(t, roots, "remove", "/devices/virtual/block/sda")
	_, _ = s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{})
	if target(t, roots.Dev+"/x") != "none" {
		t.Error("the link is left when its device has gone, since no record named it")
	}
}

// As when it is killed after the claim and before the record.
func TestAClaimOfWhichTheRecordKnowsNothingIsTakenBack(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	s := store(t, roots)
	for _, name := range []string{"sda", "sdb"} {
		apply(t, s, roots, "add", name, &hotplug.Result{Links: []string{"contested", "by/" + name}})
	}
	must(t, os.WriteFile(roots.Run+"/udev/data/b8:16", []byte("E:A=b\nV:1\n"), 0o644))
	store(t, roots)
	if got := target(t, roots.Dev+"/contested"); got != "sda" {
		t.Errorf("the contested link is %s", got)
	}
	for _, name := range []string{roots.Dev + "/by/sdb", roots.Run + "/udev/links/contested/b8:16", roots.Run + `/udev/links/by\x2fsdb`} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	if target(t, roots.Dev+"/by/sda") != "../sda" {
		t.Error("a link that is recorded has gone")
	}
}

func TestWhatVanishedUnheardIsForgotten(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	s := store(t, roots)
	for _, name := range []string{"sda", "sdb"} {
		apply(t, s, roots, "add", name, &hotplug.Result{Links: []string{"disk/by-id/" + name}, Tags: []string{"t"}})
	}
	hotplugtest.Remove(t, roots, "/devices/virtual/block/sda")
	s = store(t, roots)
	ids, err := s.Vanished()
	if err != nil || !slices.Equal(ids, []string{"b8:0"}) {
		t.Fatalf("vanished: %v, %v", ids, err)
	}
	rec, err := s.Forget("b8:0")
	if err != nil || len(rec.Links) != 1 {
		t.Errorf("record %v, %v", rec, err)
	}
	for _, name := range kept(t, roots) {
		if strings.Contains(name, "b8:0") || strings.Contains(name, "8:0 ") || strings.Contains(name, "by-id/sda") {
			t.Errorf("left: %s", name)
		}
	}
}

// Who waits for a device to be ready looks for ID_PROCESSING. Listeners are told after RUN, and do not see it.
func TestRecordSaysThatProgramsOfRunArePending(t *testing.T) {
	roots := disks(t, "sda")
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	must(t, err)
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/block/sda")
	dev := roots.EventDevice(ev)
	record := func() string { return withoutTime(read(t, roots.Run+"/udev/data/b8:0")) }
	res := &hotplug.Result{
		Properties: []hotplug.Property{{Key: "ID_BUS", Value: "ata", Stored: true}},
		Run:        []hotplug.Command{{Builtin: true, Line: "kmod load"}, {Line: "/bin/true"}},
	}
	applied, err := s.Apply(t.Context(), ev, dev, res)
	must(t, err)
	if got := record(); got != "E:ID_BUS=ata\nE:ID_PROCESSING=1\nV:1\n" {
		t.Errorf("before RUN the record is\n%s", got)
	}
	applied.Set("ID_MODEL", "x")
	applied.Set("ID_BUS", "scsi")
	applied.Set(".HIDDEN", "x")
	must(t, s.Finish(dev, applied))
	if got := record(); got != "E:ID_BUS=scsi\nE:ID_MODEL=x\nV:1\n" {
		t.Errorf("after RUN the record is\n%s", got)
	}
	for _, p := range applied.Properties {
		if p.Key == "ID_PROCESSING" || p.Key == ".HIDDEN" || p.Key == "ID_BUS" && p.Value != "scsi" {
			t.Errorf("listeners see %s=%s", p.Key, p.Value)
		}
	}

	must(t, os.Remove(roots.Run+"/udev/data/b8:0")) // to see that nothing writes it again
	applied.Record.Properties = nil
	must(t, s.Finish(dev, applied))
	if _, err := os.Stat(roots.Run + "/udev/data/b8:0"); err == nil {
		t.Error("the record is written for nothing")
	}
}

func TestInterfaceIsRenamedOnAdd(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/virtual/net/eth0 subsystem=net\n\tuevent INTERFACE=eth0\n\tuevent IFINDEX=7\n")
	var asked string
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{Rename: func(_ context.Context, index int, from, to string) error {
		asked = fmt.Sprint(index, from, to)
		return nil
	}})
	must(t, err)
	for _, action := range []string{"change", "add"} {
		ev := hotplugtest.Event(t, roots, action, "/devices/virtual/net/eth0")
		dev := roots.EventDevice(ev)
		applied, err := s.Apply(t.Context(), ev, dev, &hotplug.Result{Name: "lan0"})
		must(t, err)
		var got []string
		for _, p := range applied.Properties {
			if p.Key != "USEC_INITIALIZED" {
				got = append(got, p.Key+"="+p.Value)
			}
		}
		want := "UDEV_DATABASE_VERSION=1 ACTION=change DEVPATH=/devices/virtual/net/eth0 SUBSYSTEM=net INTERFACE=eth0 IFINDEX=7"
		if action == "add" {
			want = "UDEV_DATABASE_VERSION=1 ACTION=add DEVPATH=/devices/virtual/net/lan0 SUBSYSTEM=net INTERFACE=lan0 IFINDEX=7 INTERFACE_OLD=eth0 ID_RENAMING=1"
			if asked != "7eth0lan0" || dev.Sysname() != "lan0" {
				t.Errorf("asked for %s, device is %s", asked, dev.Sysname())
			}
		} else if asked != "" {
			t.Error("renamed by a change")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("listeners see %v", got)
		}
	}
}

// An interface that is up keeps its name, on kernels before 6.2, as does one for which rules name none: udev does not count that as a failure.
func TestAnInterfaceKeepsItsNameWithoutAFailure(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/virtual/net/eth0 subsystem=net\n\tuevent INTERFACE=eth0\n\tuevent IFINDEX=7\n")
	answer := error(unix.EBUSY)
	s, err := hotplug.OpenStore(roots, hotplug.StoreOptions{Rename: func(context.Context, int, string, string) error { return answer }})
	must(t, err)
	for name, why := range map[string]string{
		"lan0": "busy", "17": `"17" can be no`, "default": "can be no", "sixteen-letters-": "can be no", "a b": "can be no", "..": "can be no",
	} {
		ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/net/eth0")
		applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Name: name})
		if err != nil || applied.Kept == nil || !strings.Contains(applied.Kept.Error(), why) || applied.Renamed != "" {
			t.Errorf("%q: renamed %q, kept %v, failed %v", name, applied.Renamed, applied.Kept, err)
		}
	}
	answer = unix.EEXIST
	ev := hotplugtest.Event(t, roots, "add", "/devices/virtual/net/eth0")
	if applied, err := s.Apply(t.Context(), ev, roots.EventDevice(ev), &hotplug.Result{Name: "lan0"}); !errors.Is(err, unix.EEXIST) || applied.Kept != nil {
		t.Errorf("a name that is taken: kept %v, failed %v", applied.Kept, err)
	}
}

func TestLongLinkNameIsKeptToo(t *testing.T) {
	roots := disks(t, "sda")
	s := store(t, roots)
	long := strings.Repeat("x/", 100) + strings.Repeat("y", 100)
	apply(t, s, roots, "add", "sda", &hotplug.Result{Links: []string{long}})
	if got := target(t, roots.Dev+"/"+long); got != strings.Repeat("../", 100)+"sda" {
		t.Errorf("got %q", got)
	}
	apply(t, s, roots, "remove", "sda", &hotplug.Result{})
	if _, err := os.Lstat(roots.Dev + "/x"); err == nil {
		t.Error("left")
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("S:a\nL:1\nI:5\nE:a=b\nG:t\nQ:t\nV:1\n")
	f.Add("E:\nE:=\nI:99999999999999999999\n\n:\nX")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range hotplug.ParseRecord(text).Properties {
			if p.Key == "" {
				t.Fatal("a property without a name")
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	roots := disks(b, "sda")
	s := store(b, roots)
	ev := hotplugtest.Event(b, roots, "change", "/devices/virtual/block/sda")
	res := &hotplug.Result{Links: []string{"disk/by-id/a", "disk/by-id/b", "disk/by-path/c", "disk/by-diskseq/1"}, Tags: []string{"systemd"},
		Properties: []hotplug.Property{{Key: "ID_BUS", Value: "ata", Stored: true}, {Key: "ID_SERIAL", Value: "x", Stored: true}}}
	b.ReportAllocs()
	for b.Loop() {
		_, err := s.Apply(b.Context(), ev, roots.EventDevice(ev), res)
		must(b, err)
	}
}

func TestTagsThatRulesTookBackAreForgotten(t *testing.T) {
	roots := disks(t, "sda")
	s := store(t, roots)
	apply(t, s, roots, "add", "sda", &hotplug.Result{Tags: []string{"old"}})
	apply(t, s, roots, "change", "sda", &hotplug.Result{Tags: []string{"mine"}, EverTags: []string{"more", "mine"}})
	if got, want := withoutTime(read(t, roots.Run+"/udev/data/b8:0")), "G:more\nG:mine\nQ:mine\nV:1\n"; got != want {
		t.Errorf("record is\n%swant\n%s", got, want)
	}
	for tag, want := range map[string]bool{"old": false, "more": true, "mine": true} {
		if _, err := os.Stat(roots.Run + "/udev/tags/" + tag + "/b8:0"); (err == nil) != want {
			t.Errorf("tag %s: %v", tag, err)
		}
	}
}

func TestWhatAKilledStoreLeftHalfMadeIsSwept(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	swept := []string{"/run/udev/data/.#b8:00123456789abcdef", "/run/udev/links/x/.#b8:00123456789abcdef", "/dev/disk/by-id/.#x0123456789abcdef", "/dev/.#x0123456789abcdef"}
	kept := []string{"/dev/shm/.#x0123456789abcdef", "/dev/.#somebody's", "/run/udev/data/b8:0", "/run/.#x0123456789abcdef"}
	base := filepath.Dir(roots.Sys)
	for _, name := range slices.Concat(swept, kept) {
		must(t, os.MkdirAll(filepath.Dir(base+name), 0o755))
		must(t, os.WriteFile(base+name, nil, 0o644))
	}
	_, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	must(t, err)
	for _, name := range swept {
		if _, err := os.Lstat(base + name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	for _, name := range kept {
		if _, err := os.Lstat(base + name); err != nil {
			t.Errorf("%s is gone", name)
		}
	}
}
