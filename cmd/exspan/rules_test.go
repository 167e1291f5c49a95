package main

import (
	"slices"
	"testing"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestPolicyFindings compares the findings that verdicts can have with those that a site
// file may accept.
func TestPolicyFindings(t *testing.T) {
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	policy := packs.Policy()
	known := slices.Concat(policy.Violations, policy.Remarks)
	for _, id := range record.Findings() {
		if !slices.Contains(known, string(id)) {
			t.Errorf("the policy does not know the finding %s", id)
		}
	}
	if len(known) != len(record.Findings()) {
		t.Errorf("the policy has %d findings, verdicts can have %d", len(known), len(record.Findings()))
	}
}
