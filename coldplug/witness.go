package coldplug

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kudev/kudev/hotplug"
)

// Witness is one thing that the kernel has begun and not finished, seen from outside: a device will appear, or a
// driver will bind, without anyone asking again.
type Witness struct {
	Kind    string // the entry of the table: "usb-port", "nvme", …
	Devpath string // where it is seen
	What    string // what is seen there, as the rest of a sentence: "port 3 reports a connection and has no device yet"
}

func (w Witness) String() string { return path.Base(w.Devpath) + ": " + w.What }

// kind is one entry of the table.
type kind struct {
	name string
	// kernel is the file of the kernel's source on which the entry rests.
	kernel string
	// patience is how long the kernel itself may take. After it the witness is given up: a broken device shows the
	// same for ever. A witness that is given up is told once, and is not waited for again.
	patience time.Duration
	find     func(t *table)
}

// kinds is the table of witnesses. Each entry looks at a class or a bus that is empty on a machine without such
// hardware, which costs one readdir.
var kinds = [...]kind{
	// A hub's thread enumerates a connected port up to four times; the connection stands in the port's status.
	{"usb-port", "drivers/usb/core/hub.c: hub_port_connect, PORT_INIT_TRIES", 15 * time.Second, usbPorts},
	// A hub whose ports are being powered and debounced (hub_activate) is kept from suspending.
	{"usb-hub", "drivers/usb/core/hub.c: hub_activate, HUB_DEBOUNCE_TIMEOUT", 3 * time.Second, usbHubs},
	// A device is announced before its configuration is set, and its interfaces come one after the other.
	{"usb-device", "drivers/usb/core/message.c: usb_set_configuration, USB_CTRL_SET_TIMEOUT", 10 * time.Second, usbDevices},
	// The scan of the host begins delay_use seconds after the driver has bound, and makes a target.
	{"usb-storage", "drivers/usb/storage/usb.c: usb_stor_scan_dwork, delay_use", 0, usbStorage}, // patience: from delay_use
	// The controller is reset by a work item; its namespaces are scanned by another when it is live.
	{"nvme", "drivers/nvme/host/core.c: nvme_sysfs_show_state, nvme_scan_work", 60 * time.Second, nvme},
	// sd and sr probe on their own, after the device was announced: the disk may have to spin up.
	{"scsi-device", "drivers/scsi/sd.c: sd_probe, PROBE_PREFER_ASYNCHRONOUS", 30 * time.Second, scsiDevices},
	// libata finds devices in its error handler's thread and hands them to SCSI by a work item.
	{"ata-device", "drivers/ata/libata-scsi.c: ata_scsi_scan_host, ata_scsi_hotplug", 10 * time.Second, ataDevices},
	// The codecs are probed, and their drivers asked for, by a work item; the card comes when all are bound.
	{"sound-codec", "sound/pci/hda/hda_intel.c: azx_probe_work", 10 * time.Second, soundCards},
	// A device is announced long before the drivers look at it, which nothing in sysfs tells.
	{"pci-device", "drivers/pci/bus.c: pci_bus_add_device, drivers/base/dd.c: driver_bound", 30 * time.Second, pciDevices},
	// Ports are bound by a work item after port or driver has come; a mouse takes a second to say what it is.
	{"serio", "drivers/input/serio/serio.c: serio_handle_event", 4 * time.Second, serioPorts},
}

// Kinds returns the table as text: each entry's name and the file of the kernel on which it rests.
func Kinds() []string {
	var list []string
	for _, k := range kinds {
		list = append(list, k.name+": "+k.kernel)
	}
	return list
}

// Watch looks for witnesses and remembers since when each has been seen, so that hardware which never finishes is
// given up after the time that the kernel itself gives it. A Watch is used by one goroutine at a time, but for
// [Watch.Note] and [Watch.Forget].
type Watch struct {
	roots hotplug.Roots
	now   func() time.Time
	seen  map[string]*sighting
	pci   pciAdded
}

type sighting struct {
	witness  Witness
	since    time.Time
	patience time.Duration
	fresh    bool // seen in this look
	givenUp  bool
}

// NewWatch returns a watch over roots.Sys; roots.Dev holds the nodes of the USB hubs.
func NewWatch(roots hotplug.Roots) *Watch {
	return &Watch{roots: roots, now: time.Now, seen: make(map[string]*sighting)}
}

// Pending looks once, and returns what the kernel has not finished. What has been there for longer than the kernel
// takes is returned in givenUp, once.
func (w *Watch) Pending() (pending, givenUp []Witness) {
	now := w.now()
	for _, s := range w.seen {
		s.fresh = false
	}
	t := table{sys: sysdir(w.roots), dev: devdir(w.roots), now: now, pci: &w.pci}
	for i := range kinds {
		t.kind = &kinds[i]
		t.patience = t.kind.patience
		t.kind.find(&t)
	}
	for _, f := range t.found {
		key := f.Kind + "\x00" + f.Devpath + "\x00" + f.What
		s := w.seen[key]
		if s == nil {
			s = &sighting{witness: f.Witness, since: now, patience: f.patience}
			w.seen[key] = s
		}
		s.fresh = true
		switch {
		case s.givenUp:
		case now.Sub(s.since) >= s.patience:
			s.givenUp = true
			givenUp = append(givenUp, s.witness)
		default:
			pending = append(pending, s.witness)
		}
	}
	for key, s := range w.seen {
		if !s.fresh {
			delete(w.seen, key)
		}
	}
	return pending, givenUp
}

// Witnesses looks once and returns all that the kernel has not finished.
func Witnesses(roots hotplug.Roots) []Witness {
	pending, _ := NewWatch(roots).Pending()
	return pending
}

// table is one look through the kinds.
type table struct {
	sys, dev string
	now      time.Time
	pci      *pciAdded
	kind     *kind
	patience time.Duration
	found    []found
}

type found struct {
	Witness
	patience time.Duration
}

// tell notes a witness at dir, a directory as the kernel shows it through a bus or class.
func (t *table) tell(dir, format string, args ...any) {
	devpath := dir
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		devpath = real
		if top, err := filepath.EvalSymlinks(t.sys); err == nil {
			devpath = strings.TrimPrefix(real, top)
		}
	}
	t.found = append(t.found, found{Witness{t.kind.name, devpath, fmt.Sprintf(format, args...)}, t.patience})
}

func (t *table) list(dir string) []string {
	f, err := os.Open(filepath.Join(t.sys, dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	return names
}

func (t *table) exists(parts ...string) bool {
	_, err := os.Lstat(filepath.Join(parts...))
	return err == nil
}

func attr(dir, name string) string {
	s, _ := readTrim(filepath.Join(dir, name))
	return strings.TrimSpace(s)
}

func number(dir, name string) int {
	n, err := strconv.Atoi(attr(dir, name))
	if err != nil {
		return -1
	}
	return n
}

// driver returns the base name of the device's driver link, "" for none.
func driver(dir string) string {
	to, err := os.Readlink(filepath.Join(dir, "driver"))
	if err != nil {
		return ""
	}
	return path.Base(to)
}

func nvme(t *table) {
	for _, name := range t.list("class/nvme") {
		dir := filepath.Join(t.sys, "class/nvme", name)
		switch state := attr(dir, "state"); state {
		case "new", "resetting", "connecting":
			t.patience = t.kind.patience
			t.tell(dir, "controller is %s", state)
		case "live":
			if attr(dir, "cntrltype") == "discovery" || hasNamespace(dir) {
				continue
			}
			t.patience = 5 * time.Second // a controller without a namespace stays like this
			t.tell(dir, "controller is live and has no namespace yet")
		}
	}
}

// hasNamespace tells whether the controller at dir has a namespace: nvme0n1, nvme0c0n1, ng0n1.
func hasNamespace(dir string) bool {
	entries, _ := os.ReadDir(dir + "/")
	base := path.Base(dir)
	for _, e := range entries {
		n := e.Name()
		if rest, ok := strings.CutPrefix(n, base); ok && strings.Contains(rest, "n") {
			return true
		}
		if strings.HasPrefix(n, "ng"+strings.TrimPrefix(base, "nvme")+"n") {
			return true
		}
	}
	return false
}

func scsiDevices(t *table) {
	for _, name := range t.list("bus/scsi/devices") {
		dir := filepath.Join(t.sys, "bus/scsi/devices", name)
		if !strings.Contains(name, ":") || strings.HasPrefix(name, "target") {
			continue
		}
		want := ""
		switch attr(dir, "type") {
		case "0", "7", "14", "20":
			want = "sd"
		case "4", "5":
			want = "sr"
		}
		if want == "" || !t.exists(t.sys, "bus/scsi/drivers", want) || attr(dir, "state") == "offline" {
			continue
		}
		switch driver(dir) {
		case want:
			if !t.exists(dir, "block") {
				t.patience = t.kind.patience
				t.tell(dir, "%s is probing it", want)
			}
		case "":
			t.patience = 3 * time.Second // a member of a RAID is hidden from sd for ever (no_uld_attach)
			t.tell(dir, "%s has not taken it yet", want)
		}
	}
}

func ataDevices(t *table) {
	for _, name := range t.list("class/ata_device") {
		dir := filepath.Join(t.sys, "class/ata_device", name)
		if c := attr(dir, "class"); c != "ata" && c != "atapi" {
			continue
		}
		// …/ata3/link3/dev3.0/ata_device/dev3.0, and the host beside the link: …/ata3/host2/target2:0:0
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue
		}
		port := real
		for port != "/" && port != "." && !isNumbered(path.Base(port), "ata") {
			port = path.Dir(port)
		}
		if targets, _ := filepath.Glob(port + "/host*/target*"); len(targets) == 0 {
			t.tell(dir, "has been identified and has no SCSI device yet")
		}
	}
}

func isNumbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok || rest == "" {
		return false
	}
	_, err := strconv.Atoi(rest)
	return err == nil
}

func soundCards(t *table) {
	for _, name := range t.list("bus/pci/drivers/snd_hda_intel") {
		if !strings.Contains(name, ":") {
			continue
		}
		dir := filepath.Join(t.sys, "bus/pci/drivers/snd_hda_intel", name)
		if cards, _ := filepath.Glob(dir + "/sound/card*"); len(cards) == 0 {
			t.tell(dir, "sound codecs are being probed")
		}
	}
}

func serioPorts(t *table) {
	for _, name := range t.list("bus/serio/devices") {
		dir := filepath.Join(t.sys, "bus/serio/devices", name)
		if driver(dir) != "" {
			continue
		}
		// The kernel's own aliases: atkbd takes 06 (i8042 translated) and 01, psmouse 01 with what is no keyboard.
		want := ""
		switch attr(dir, "id/type") {
		case "06":
			want = "atkbd"
		case "01":
			want = "psmouse"
		}
		if want != "" && t.exists(t.sys, "bus/serio/drivers", want) {
			t.tell(dir, "%s is asking it what it is", want)
		}
	}
}
