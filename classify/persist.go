package classify

import (
	"bytes"
	"io"

	"github.com/exspan/exspan/rules"
)

// Save writes what was learned, for Restore: endpoints that hold now, proven
// roles and names of hosts. It may be called by any goroutine.
func (e *Engine) Save(w io.Writer) error {
	var b bytes.Buffer // so that the lock does not wait for w
	e.mu.Lock()
	err := e.inventory.Save(&b, e.clock)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = b.WriteTo(w)
	return err
}

// Restore takes in what Save wrote. It is to be called before the first batch,
// and takes in nothing if there is an error.
func (e *Engine) Restore(r io.Reader) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.inventory.Restore(r)
	e.reader.Announcements = e.inventory.MediaAnnounced()
	return err
}

// Reload swaps the rules and the site file without losing a flow: what was
// learned stays, and open flows are judged by the new rules. The error is that
// of New, and nothing has changed then.
func (e *Engine) Reload(packs *rules.Packs, site *rules.Site) error {
	j, err := e.cfg.newJudge(packs, site)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cfg.Packs, e.cfg.Site = packs, site
	e.judge = j
	e.inventory.Reload(packs, site, e.clock)
	e.tunnels.setSite(site)
	e.legs.site = site
	e.reader.Announcements = e.inventory.MediaAnnounced()
	e.ledger.addLabels(packs)
	return nil
}
