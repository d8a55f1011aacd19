package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record is a device's entry in /run/udev/data.
// Format: systemd, src/libsystemd/sd-device/device-private.c, device_update_db: one "X:value" a line.
type Record struct {
	Links       []string      // S: names below /dev, without /dev/ in front
	Priority    int           // L: of the links
	Initialized time.Duration // I: monotonic time of the first event, in whole microseconds
	Properties  []Property    // E:
	Tags        []string      // G: every tag that the device ever had
	CurrentTags []string      // Q: the tags of its latest event
	Version     int           // V: 1, or 0 for what an udev before 247 wrote, in which G: is the tags of the latest event

	text    string // of the file it was read from
	missing bool   // there was no such file
}

// Get returns a property of the record, and whether it has it.
func (r *Record) Get(key string) (string, bool) {
	for _, p := range r.Properties {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// Record reads the entry of the device that udev's database calls id. The error satisfies errors.Is(err, fs.ErrNotExist)
// when there is none.
func (r Roots) Record(id string) (*Record, error) {
	if !validID(id) {
		return nil, fmt.Errorf("record %q: %w", id, fs.ErrNotExist)
	}
	text, err := r.run().readRecord(id)
	if errors.Is(err, fs.ErrNotExist) { // as of most devices: no message is composed for it
		return nil, &fs.PathError{Op: "record", Path: id, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", id, err)
	}
	return ParseRecord(text), nil
}

// ParseRecord reads the text of a record. A line that it does not understand is left out, as udev does.
func ParseRecord(text string) *Record {
	rec := &Record{text: text}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) < 3 || line[1] != ':' {
			continue
		}
		value := line[2:]
		switch line[0] {
		case 'S':
			rec.Links = append(rec.Links, value)
		case 'L':
			rec.Priority, _ = strconv.Atoi(value)
		case 'I':
			if usec, err := strconv.ParseInt(value, 10, 64); err == nil && usec < 1<<53 {
				rec.Initialized = time.Duration(usec) * time.Microsecond
			}
		case 'E':
			if key, v, ok := strings.Cut(value, "="); ok && key != "" {
				rec.Properties = append(rec.Properties, Property{Key: key, Value: v, Stored: true})
			}
		case 'G':
			rec.Tags = append(rec.Tags, value)
		case 'Q':
			rec.CurrentTags = append(rec.CurrentTags, value)
		case 'V':
			rec.Version, _ = strconv.Atoi(value)
		}
	}
	if rec.Version == 0 {
		rec.CurrentTags = slices.Clone(rec.Tags)
	}
	return rec
}

// nothing tells whether the record has nothing to say.
func (r *Record) nothing() bool {
	return len(r.Links)+len(r.Properties)+len(r.Tags)+len(r.CurrentTags) == 0 && r.Priority == 0
}

// append appends the record as text.
func (r *Record) append(b []byte) []byte {
	if r.nothing() {
		return b // udev's is empty when there is nothing to say: that the file is there says that the device was handled
	}
	line := func(kind, value string) {
		b = append(b, kind...)
		for i := range len(value) { // a line break would forge a line
			if c := value[i]; c == '\n' || c == '\r' {
				b = append(b, ' ')
			} else {
				b = append(b, c)
			}
		}
		b = append(b, '\n')
	}
	for _, link := range r.Links {
		line("S:", link)
	}
	if r.Priority != 0 {
		line("L:", strconv.Itoa(r.Priority))
	}
	if r.Initialized > 0 {
		line("I:", strconv.FormatInt(r.Initialized.Microseconds(), 10))
	}
	for _, p := range r.Properties {
		line("E:", p.Key+"="+p.Value)
	}
	for _, tag := range r.Tags {
		line("G:", tag)
	}
	for _, tag := range r.CurrentTags {
		line("Q:", tag)
	}
	return append(b, "V:"+DatabaseVersion+"\n"...)
}

// validID says whether id can be a file name in udev's database.
func validID(id string) bool {
	return len(id) >= 2 && len(id) <= 255 && strings.IndexByte("bcn+", id[0]) >= 0 && strings.IndexByte(id, '/') < 0 && strings.IndexByte(id, 0) < 0
}
