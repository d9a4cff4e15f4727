"""What is typed and not yet saved stays in this browser: a reload brings it back. And the few keys that Streamlit cannot bind."""

import json

import streamlit as st

_KEEP = """
<script>
(() => {
  const prefix = PREFIX;
  const put = (field, value) => {
    const kind = field.tagName === 'TEXTAREA' ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(field, value);
    field.dispatchEvent(new Event('input', {bubbles: true}));
  };
  let tries = 0;
  const start = () => {
    const box = document.querySelector('.st-key-panel');
    const first = box && box.querySelector(FIRST);
    if (!first) { if (tries++ < 200) setTimeout(start, 25); return; }
    for (const field of box.querySelectorAll('.stTextArea textarea, .stTextInput input')) {
      const key = prefix + field.getAttribute('aria-label');
      const saved = localStorage.getItem(key);
      if (saved !== null && saved !== field.value) put(field, saved);
      if (!field.dataset.kept) field.addEventListener('input', () => localStorage.setItem(key, field.value));
      field.dataset.kept = '1';
    }
    if (!box.dataset.kept) box.addEventListener('keydown', (event) => {  // Streamlit's forms take Ctrl-Enter in text only
      const choice = event.target.type === 'radio' || event.target.getAttribute('role') === 'combobox';
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && choice) {
        event.preventDefault();
        box.querySelector('.stFormSubmitButton button').click();
      }
    }, true);
    box.dataset.kept = '1';
    const opening = window.tilthOpening || {};
    if (!box.contains(document.activeElement)) (box.querySelector('input[type=radio]:checked') || first).focus();
    if (opening.typed && first.type !== 'radio') put(first, first.value + opening.typed);
    opening.until = 0;
  };
  start();
})();
</script>
"""

# Between the key that opens a panel and the panel's coming, letters are words for it and no shortcuts.
# A key or a click decides only on what is on the screen: the address, which goes with it, names the card that is shown.
_KEYS = """
<script>
if (!window.tilthOpening) {
  const opens = {w: ['reason', 'Reason'], e: ['edit', 'Edit'], l: ['relabel', 'Relabel'], a: ['all', 'All-like-this']};
  const opening = window.tilthOpening = {until: 0, typed: ''};
  const unseen = () => {
    const cards = [...document.querySelectorAll('.t-card')], named = new URLSearchParams(location.search).get('example');
    return !cards.length || cards.some((card) => card.dataset.example !== named);
  };
  const refuse = (event) => { event.preventDefault(); event.stopImmediatePropagation(); };
  window.addEventListener('click', (event) => {
    const button = event.target.closest && event.target.closest('.st-key-acts button, .st-key-panel .stFormSubmitButton button');
    if (button && !button.closest('.st-key-do-Undo') && unseen()) refuse(event);
  }, true);
  const press = (name) => { const found = document.querySelector('.st-key-' + name + ' button'); if (found) found.click(); };
  window.addEventListener('keydown', (event) => {
    const typing = event.target.closest && event.target.closest('input, textarea, [contenteditable]');
    const held = event.ctrlKey || event.metaKey || event.altKey;
    if (event.key === '?' && (!typing || event.target.type === 'radio')) press('keys');
    if (event.key === 'Escape') { opening.until = 0; if (typing) event.target.blur(); press('close'); }
    if (event.key === 'Enter' && typing && typing.closest('.st-key-panel') && unseen()) refuse(event);
    if (typing || held || event.key.length > 1) return;
    if (performance.now() < opening.until) {
      opening.typed += event.key;
      refuse(event);
      return;
    }
    if ('kdfwlesa123456789'.includes(event.key.toLowerCase()) && unseen()) { refuse(event); return; }
    const panel = opens[event.key.toLowerCase()];
    if (!panel || new URLSearchParams(location.search).get('panel') === panel[0]) return;
    if (document.querySelector('.st-key-do-' + panel[1] + ' button:enabled')) Object.assign(opening, {until: performance.now() + 3000, typed: ''});
  }, true);
}
</script>
"""
_FIRST = {
    "reason": ".stTextInput input",
    "edit": "textarea",
    "relabel": "input[type=radio]",
    "all": "input[type=radio]",
}


def keep(example: str, panel: str) -> None:
    """Keep what is typed in the open panel, bring back what was, and put the cursor there."""
    prefix = json.dumps(f"tilth:{example}:{panel}:").replace("<", "\\u003c")
    st.html(_KEEP.replace("PREFIX", prefix).replace("FIRST", json.dumps(_FIRST[panel])), unsafe_allow_javascript=True)


def forget(example: str) -> None:
    """Drop the drafts of an example that was decided."""
    prefix = json.dumps(f"tilth:{example}:").replace("<", "\\u003c")
    script = f"for (const key of Object.keys(localStorage)) if (key.startsWith({prefix})) localStorage.removeItem(key);"
    st.html(f"<script>{script}</script>", unsafe_allow_javascript=True)


def keys() -> None:
    """`?` opens the sheet of keys, Escape closes a panel."""
    st.html(_KEYS, unsafe_allow_javascript=True)
