package hotplug

import "time"

// Record is a device's entry in /run/udev/data.
// Format: systemd, sd-device, one "X:value" a line; see udev's database in libudev(3).
type Record struct {
	Links       []string      // S:
	Priority    int           // L:
	Initialized time.Duration // I: monotonic time of the first event
	Properties  []Property    // E:
	Tags        []string      // G: every tag that the device ever had
	CurrentTags []string      // Q:
}
