package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pilebones/go-udev/netlink"

	"github.com/kudev/kudev/hotplug"
)

// TestAMatchIsWhatItIsToGoUdev holds monitor --match to the package whose form of rules it takes.
func TestAMatchIsWhatItIsToGoUdev(t *testing.T) {
	events := []*hotplug.Event{
		hotplug.NewEvent("add", "/devices/a", "block", "DEVTYPE=disk", "DEVNAME=sda", "MAJOR=8"),
		hotplug.NewEvent("remove", "/devices/a/1", "block", "DEVTYPE=partition", "DEVNAME=sda1", "PARTN=1"),
		hotplug.NewEvent("change", "/devices/b", "net", "INTERFACE=eth0", "EMPTY="),
	}
	matched := 0
	for _, text := range []string{
		`{}`, `null`, `{"env": {}}`, `{"action": null}`, `{"action": ""}`, `{"action": "add"}`, `{"action": "^(add|change)$"}`, `{"action": "d", "env": {"DEVTYPE": "disk"}}`,
		`{"env": {"DEVTYPE": "disk", "MAJOR": "^[0-9]+$"}}`, `{"env": {"DEVNAME": "^sd[a-z]\\d?$"}}`, `{"env": {"EMPTY": ""}}`, `{"env": {"MISSING": ".*"}}`,
		`{"env": {"INTERFACE": "(?:eth|wlan)\\d+"}, "action": "change"}`, `{"env": {"SUBSYSTEM": "^block$"}}`, `{"Action": "add"}`,
	} {
		rules, err := parseMatches([]string{text})
		var theirs netlink.RuleDefinition
		if theirErr := json.Unmarshal([]byte(text), &theirs); err != nil || theirErr != nil {
			t.Errorf("%s: %v, %v", text, err, theirErr)
			continue
		}
		for _, ev := range events {
			e := netlink.UEvent{Action: netlink.KObjAction(ev.Action()), KObj: ev.Devpath(), Env: map[string]string{}}
			for k, v := range ev.All() {
				e.Env[k] = v
			}
			got, want := rules[0].matches(ev), theirs.Evaluate(e)
			if got != want {
				t.Errorf("%s, %s: %v, want %v", text, ev, got, want)
			}
			if got {
				matched++
			}
		}
	}
	if matched < 10 {
		t.Errorf("only %d events matched", matched)
	}
}

func TestAMatchThatIsNoneIsMisuse(t *testing.T) {
	for text, want := range map[string]string{
		`{"action": "("}`:            `match: expression "(": missing )`,
		`{"env": {"A": "[b"}}`:       `match: expression "[b": missing ]`,
		`{"actoin": "add"}`:          `unknown member "actoin"`,
		`{"action": "add"`:           `unexpected EOF`,
		`{"env": {"DEVTYPE": true}}`: `true where string is wanted`,
	} {
		if _, err := parseMatches([]string{text}); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
