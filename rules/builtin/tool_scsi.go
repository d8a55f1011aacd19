package builtin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// scsiID prints what a SCSI device says of itself in its inquiry and its vital product data. Format: SPC-4, 7.8.
func (t *Table) scsiID(ctx context.Context, call *Call, args []string, out io.Writer) error {
	var device, config, page, version, rest string
	var export, flag, spaces, verbose bool
	config = "/etc/scsi_id.config"
	for i, a := range args {
		if a == "-f" && i+1 < len(args) {
			config = args[i+1]
		} else if file, ok := strings.CutPrefix(a, "--config="); ok {
			config = file
		}
	}
	general, err := scsiConfig(call, config, "", "")
	if err != nil {
		return err
	}
	args = append(general, args...)
	allowed := isAllowed(args)
	if err := options(args, map[string]*string{"d": &device, "device": &device, "f": &config, "config": &config, "p": &page, "page": &page,
		"s": &version, "sg-version": &version}, map[string]*bool{"x": &export, "export": &export, "g": &flag, "allowlisted": &flag,
		"whitelisted": &flag, "b": &flag, "denylisted": &flag, "blacklisted": &flag, "u": &spaces, "replace-whitespace": &spaces,
		"v": &verbose, "verbose": &verbose}, &rest); err != nil {
		return err
	}
	if device == "" {
		device = rest
	}
	if !isSCSIPage(page) {
		return fmt.Errorf("unknown page %q", page)
	}
	if version != "" && version != "3" && version != "4" {
		return fmt.Errorf("unknown version %q of the SCSI generic interface", version)
	}
	n, err := t.openWaiting(ctx, call, device)
	if err != nil {
		return err
	}
	defer n.Close()
	d := &scsiDevice{n: n, v4: version != "3"}
	if err := d.inquire(); err != nil {
		return err
	}
	own, err := scsiConfig(call, config, d.vendor, d.model)
	if err != nil {
		call.warn("the device's options are not known", "err", err)
	}
	for i, a := range own {
		switch {
		case a == "-b" || a == "-g":
			allowed = a == "-g"
		case a == "-p" && i+1 < len(own) && isSCSIPage(own[i+1]):
			page = own[i+1]
		}
	}
	if !allowed {
		return errors.New("the device is not allowed: --allowlisted is missing")
	}
	d.identify(page)
	var p printer
	if export {
		d.export(&p)
	} else {
		if d.serial == "" {
			return ErrNothing
		}
		if spaces {
			d.serial = cleanName(d.serial, 255)
		}
		p.line("%s", d.serial)
	}
	_, err = out.Write(p.Bytes())
	return err
}

// isAllowed says whether the last word on it is that the device is.
func isAllowed(args []string) (good bool) {
	for _, a := range args {
		switch {
		case a == "--allowlisted" || a == "--whitelisted":
			good = true
		case a == "--denylisted" || a == "--blacklisted":
			good = false
		case len(a) > 1 && a[0] == '-' && a[1] != '-':
			letters, _, _ := strings.Cut(a[1:], "d") // of those that take a value only -d is written as one with them
			for _, c := range letters {
				good = c == 'g' || good && c != 'b'
			}
		}
	}
	return good
}

func isSCSIPage(page string) bool {
	return page == "" || page == "0x80" || page == "0x83" || page == "pre-spc3-83"
}

// scsiConfig returns the options that /etc/scsi_id.config has for devices whose vendor and model begin as a line of it
// says, of the first such line; for no vendor, those of the first line that names none. See scsi_id(8).
func scsiConfig(call *Call, name, vendor, model string) ([]string, error) {
	text, err := call.Device.Roots().ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return findSCSIOptions(name, text, vendor, model)
}

func findSCSIOptions(name, text, vendor, model string) ([]string, error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("=\",", r) })
		has := map[string]string{}
		for i := 0; i+1 < len(fields); i += 2 {
			has[strings.ToLower(strings.TrimSpace(fields[i]))] = fields[i+1]
		}
		theirs, byVendor := has["vendor"]
		own, byModel := has["model"]
		found, ok := has["options"]
		if !ok || byModel && !byVendor || len(fields)%2 != 0 {
			return nil, fmt.Errorf("%s:%d: not [vendor=…[,model=…],]options=…", name, number)
		}
		if vendor == "" && !byVendor || vendor != "" && byVendor && strings.HasPrefix(vendor, theirs) && strings.HasPrefix(model, own) {
			return strings.Fields(found), nil
		}
	}
	return nil, nil
}

// openWaiting opens a node, and again for some seconds while another has it for itself.
func (t *Table) openWaiting(ctx context.Context, call *Call, name string) (Node, error) {
	for try := 0; ; try++ {
		n, err := t.openNamed(call, name, unix.O_RDONLY|unix.O_NONBLOCK)
		if !errors.Is(err, unix.EBUSY) || try == 20 {
			return n, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

type scsiDevice struct {
	n  Node
	v4 bool

	vendor, model, revision string
	kind                    byte

	serial, short, unit, wwn, extension, group string
}

// inquiry reads a page of the vital product data, or the standard data. What the device does not support reads as a
// page of zeros.
func (d *scsiDevice) inquiry(vpd, page byte) ([]byte, error) {
	const length = 254
	for try := 0; ; try++ {
		buf := make([]byte, length)
		c := &SCSICommand{CDB: []byte{0x12, vpd, page, 0, length, 0}, Data: buf, Timeout: 5000, V4: d.v4}
		err := d.n.SCSI(c)
		if d.v4 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
			d.v4 = false
			continue
		}
		if err != nil {
			return nil, err
		}
		const didTransportDisrupted = 0x0e
		status := c.Status & 0x7e
		if status == 0 && c.HostStatus == 0 && c.DriverStatus == 0 {
			return buf, nil
		}
		if status == 0x02 || status == 0x22 || c.DriverStatus&0xf == 0x08 {
			switch key := senseKey(c.Sense); key {
			case 1: // recovered
				return buf, nil
			case 5: // not supported
				buf[1] = 0
				return buf, nil
			}
		} else if c.HostStatus == didTransportDisrupted && try < 2 {
			continue
		}
		return nil, fmt.Errorf("inquiry of page %#x: status %#x, host %#x, driver %#x", page, c.Status, c.HostStatus, c.DriverStatus)
	}
}

func senseKey(s []byte) byte {
	switch {
	case len(s) <= 2:
		return 0
	case s[0]&2 != 0: // descriptors
		return s[1] & 0xf
	}
	return s[2] & 0xf
}

func (d *scsiDevice) inquire() error {
	b, err := d.inquiry(0, 0)
	if err != nil {
		return err
	}
	d.vendor, d.model, d.revision, d.kind = text(b[8:16]), text(b[16:32]), text(b[32:36]), b[0]&0x1f
	return nil
}

// identify reads the page asked for; without one, the best that the device lists.
func (d *scsiDevice) identify(page string) {
	switch page {
	case "0x80":
		d.page80(true)
		return
	case "0x83":
		d.page83()
		return
	case "pre-spc3-83":
		b, err := d.inquiry(1, 0x83)
		if err != nil || b[1] != 0x83 {
			return
		}
		if b[6] == 0 {
			d.page83()
			return
		}
		d.serial = "3" + hex.EncodeToString(b[4:min(4+int(b[3]), len(b))])
		return
	}
	b, err := d.inquiry(1, 0)
	// Some answer with the standard data: the vendor's name gives it away.
	if err != nil || b[1] != 0 || int(b[3])+4 > len(b) || b[3] > 16 && text(b[8:16]) == d.vendor {
		return
	}
	pages := b[4 : 4+int(b[3])]
	if strings.IndexByte(string(pages), 0x83) >= 0 && d.page83() {
		return
	}
	if strings.IndexByte(string(pages), 0x80) >= 0 {
		d.page80(true)
	}
}

// vendorModel is what makes a number unique that the vendor made up.
func (d *scsiDevice) vendorModel() (string, bool) {
	return d.vendor + d.model, len(d.vendor) == 8 && len(d.model) == 16
}

// page80 reads the unit's serial number. It becomes the device's, or only the unit's.
func (d *scsiDevice) page80(own bool) bool {
	b, err := d.inquiry(1, 0x80)
	if err != nil || b[1] != 0x80 || 1+24+int(b[3]) > 256 {
		return false
	}
	number := text(b[4:min(4+int(b[3]), len(b))])
	if !own {
		d.unit = number
		return true
	}
	name, ok := d.vendorModel()
	if !ok {
		return false
	}
	d.serial, d.short = "S"+name+number, number
	return true
}

// designator is a kind of name in page 0x83 that may stand for the device, the best first.
type designator struct{ kind, naa, code byte }

const anyNAA = 0xff

var designators = [...]designator{
	{5, anyNAA, 1}, // the target port group, which is only noted
	{3, 6, 1}, {3, 6, 2}, {3, 5, 1}, {3, 5, 2}, {3, anyNAA, 1}, {3, anyNAA, 2},
	{2, anyNAA, 1}, {2, anyNAA, 2}, {1, anyNAA, 1}, {1, anyNAA, 2}, {0, anyNAA, 1}, {0, anyNAA, 2},
}

// page83 reads the device's names and takes the best.
func (d *scsiDevice) page83() bool {
	d.page80(false)
	b, err := d.inquiry(1, 0x83)
	if err != nil || b[1] != 0x83 {
		return false
	}
	if b[6] != 0 { // as it was before SPC: the name itself
		d.serial = "3" + hex.EncodeToString(b[4:min(4+int(b[3]), len(b), 4+126)])
		d.short = d.serial
		return true
	}
	end := min(int(b[2])<<8|int(b[3])+4, len(b))
	for _, want := range designators {
		for at := 4; at+4 <= end && at+4+int(b[at+3]) <= len(b); at += int(b[at+3]) + 4 {
			if d.take(want, b[at:at+4+int(b[at+3])]) {
				return true
			}
		}
	}
	return false
}

func (d *scsiDevice) take(want designator, b []byte) bool {
	association := b[1] & 0x30
	if association == 0x10 && want.kind != 5 || association != 0 && association != 0x10 || b[1]&0xf != want.kind || b[0]&0xf != want.code {
		return false
	}
	id := b[4:]
	if want.naa != anyNAA && (len(id) == 0 || id[0]>>4 != want.naa) {
		return false
	}
	if want.kind == 5 {
		if len(id) >= 4 {
			d.group = fmt.Sprintf("%x", uint(id[2])<<8|uint(id[3]))
		}
		return false
	}
	name := text(id)
	if want.code != 2 {
		name = hex.EncodeToString(id)
	}
	prefix := string("0123456789"[want.kind])
	if want.kind == 0 {
		own, ok := d.vendorModel()
		if !ok {
			return false
		}
		prefix += own
	}
	if len(prefix)+len(name)+1 > 256 {
		return false
	}
	d.serial, d.short = prefix+name, name
	if want.kind == 3 {
		d.wwn = name[:min(16, len(name))]
		d.extension = name[len(d.wwn):min(32, len(name))]
	}
	return true
}

func (d *scsiDevice) export(p *printer) {
	p.line("ID_SCSI=1")
	p.line("ID_VENDOR=%s", cleanName(d.vendor, 63))
	p.line("ID_VENDOR_ENC=%s", encode(d.vendor, 256))
	p.line("ID_MODEL=%s", cleanName(d.model, 63))
	p.line("ID_MODEL_ENC=%s", encode(d.model, 256))
	p.line("ID_REVISION=%s", cleanName(d.revision, 15))
	p.line("ID_TYPE=%s", scsiKind(itoa(int(d.kind))))
	if d.serial != "" {
		p.line("ID_SERIAL=%s", cleanName(d.serial, 255))
		p.line("ID_SERIAL_SHORT=%s", cleanName(d.short, 255))
	}
	if d.wwn != "" {
		p.line("ID_WWN=0x%s", d.wwn)
		if d.extension != "" {
			p.line("ID_WWN_VENDOR_EXTENSION=0x%s", d.extension)
		}
		p.line("ID_WWN_WITH_EXTENSION=0x%s%s", d.wwn, d.extension)
	}
	if d.group != "" {
		p.line("ID_TARGET_PORT=%s", d.group)
	}
	if d.unit != "" {
		p.line("ID_SCSI_SERIAL=%s", d.unit)
	}
}
