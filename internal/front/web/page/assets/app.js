// Conveniences only: every page works without this file; what needs it is `hidden` in the HTML.
const all = (selector, run) => document.querySelectorAll(selector).forEach(run);
const on = (target, type, run) => target.addEventListener(type, run);
const textOf = (el) => {
  const items = [...el.querySelectorAll('li')];
  return items.length ? items.map((li) => li.textContent.trim()).join('\n') + '\n' : (el.value ?? el.textContent).trim();
};

// One polite place for spoken confirmations.
const live = document.body.appendChild(document.createElement('p'));
live.className = 'visually-hidden';
live.setAttribute('role', 'status');

all('.error-summary[tabindex="-1"]', (box) => box.focus());

// Show or hide a password. It is hidden again before it is sent.
all('.reveal', (box) => {
  const input = box.querySelector('input');
  const button = box.querySelector('.reveal-toggle');
  const show = (yes) => {
    input.type = yes ? 'text' : 'password';
    button.setAttribute('aria-pressed', yes);
    button.textContent = yes ? button.dataset.hide : button.dataset.show;
  };
  button.hidden = false;
  on(button, 'click', () => show(input.type === 'password'));
  if (input.form) on(input.form, 'submit', () => show(false));
});

// Copy, download, print.
const said = (button) => {
  const text = button.textContent;
  live.textContent = button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = text; live.textContent = ''; }, 2500);
};
all('[data-copy]', (button) => {
  button.hidden = !navigator.clipboard;
  on(button, 'click', () => navigator.clipboard.writeText(textOf(document.querySelector(button.dataset.copy))).then(() => said(button)));
});
all('[data-download]', (button) => {
  button.hidden = false;
  on(button, 'click', () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([textOf(document.querySelector(button.dataset.download))], { type: 'text/plain' }));
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 9e3);
    said(button);
  });
});
all('[data-print]', (button) => { button.hidden = false; on(button, 'click', () => print()); });

// Submit once. The button is disabled after the form data was taken, so its name and value are sent.
const busy = new Map();
on(document, 'submit', (event) => {
  const form = event.target;
  if (event.defaultPrevented || 'again' in form.dataset) return;
  if (form.ariaBusy === 'true') return event.preventDefault();
  form.ariaBusy = 'true';
  const button = event.submitter ?? form.querySelector('button:not([type=button])');
  if (button) setTimeout(() => {
    busy.set(button, button.textContent);
    button.disabled = true;
    if (button.dataset.busy) live.textContent = button.textContent = button.dataset.busy;
  });
});
on(window, 'pageshow', (event) => {
  if (!event.persisted) return;
  busy.forEach((text, button) => { button.disabled = false; button.textContent = text; });
  busy.clear();
  live.textContent = '';
  all('form', (form) => { form.ariaBusy = null; });
});

// Codes: tidy what was pasted or filled in; send only if a full code came at once and is the only one.
all('input[data-code]', (input) => {
  let before = input.value.length;
  on(input, 'input', (event) => {
    if (event.isComposing) return;
    const code = input.value.normalize('NFKC').replace(/[\s\p{Pd}]/gu, '');
    const atOnce = code.length - before > 1;
    before = code.length;
    if (code !== input.value && (atOnce || /[^\x20-\x7f]/.test(input.value))) input.value = code;
    const { form } = input;
    if (atOnce && code.length === +input.dataset.code && form?.querySelectorAll('[data-code]').length === 1) {
      form.requestSubmit(form.querySelector('button:not([type=button])'));
    }
  });
});

// A text message that names this site fills in its code (WebOTP).
const otp = document.querySelector('[data-otp]');
if (otp && 'OTPCredential' in window) {
  const stop = new AbortController();
  on(otp.form, 'submit', () => stop.abort());
  navigator.credentials.get({ otp: { transport: ['sms'] }, signal: stop.signal }).then(({ code }) => {
    otp.value = code;
    otp.form.requestSubmit();
  }).catch(() => { /* typed by hand */ });
}

// "Send again" waits, and says how long. The server keeps the rule.
all('[data-resend]', (button) => {
  const text = button.textContent;
  const until = Date.now() + button.dataset.resend * 1e3;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1e3);
    button.textContent = (button.disabled = left > 0) ? button.dataset.wait.replace('{n}', left) : text;
    if (left > 0) setTimeout(tick, 500);
  };
  tick();
});

// What was typed (no password, no code) survives a change of language or theme, once.
const key = 'keep:' + location.pathname;
const kept = () => [...document.querySelectorAll(['text', 'email', 'tel', 'checkbox', 'radio'].map((t) => `input[type=${t}][id]`) + ', select[id], textarea[id]')]
  .filter((i) => !i.matches('[data-code], [autocomplete=one-time-code], [autocomplete*=password], [autocomplete=off]:not([data-typed])'));
try {
  const saved = JSON.parse(sessionStorage[key] ?? '{}');
  delete sessionStorage[key];
  kept().forEach((i) => {
    const was = saved[i.id];
    if (was === undefined) return;
    if (typeof was === 'boolean') i.checked = was;
    else if (!i.value || i.matches('select')) i.value = was;
  });
  all('form[data-keep]', (form) => on(form, 'submit', () => {
    sessionStorage[key] = JSON.stringify(Object.fromEntries(kept().map((i) => [i.id, /^(check|rad)/.test(i.type) ? i.checked : i.value])));
  }));
} catch { /* no storage: nothing is kept */ }

// A long select can be searched by name, code or dial code; the best match is chosen.
const plain = (s) => s.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase().trim();
all('[data-filter]', (box) => {
  const select = document.getElementById(box.dataset.filter);
  const [input, none] = box.querySelectorAll('input, p');
  const options = [...select.options].map((option) => [option, `${option.value}(${option.text}`.split(/[(+)]/).map(plain).filter(Boolean)]);
  const hint = document.querySelector('[data-example]:not(option)');
  const example = () => {
    const number = select.selectedOptions[0]?.dataset.example;
    if (number) hint.textContent = hint.dataset.example.replace('{n}', number);
  };
  on(select, 'change', example);
  on(input, 'input', () => {
    const asked = plain(input.value).replace('+', '');
    const rank = (words) => words.includes(asked) ? 0 : words.some((w) => w.startsWith(asked)) ? 1 : words.some((w) => w.includes(asked)) ? 2 : 3;
    const hits = options.map(([option, words]) => [option, rank(words)]).filter(([, r]) => r < 3).sort((a, b) => a[1] - b[1]);
    none.hidden = hits.length > 0;
    if (none.hidden) {
      const { value } = select;
      select.replaceChildren(...hits.map(([option]) => option));
      if (asked) select.selectedIndex = 0; else select.value = value;
      example();
    }
    live.textContent = none.hidden ? select.selectedOptions[0].text : none.textContent;
  });
  on(input, 'keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== 'ArrowDown') return;
    event.preventDefault();
    select.focus();
  });
  box.hidden = false;
  example();
});

// What the choices on the page will do.
all('p[data-effect]', (effect) => {
  const say = () => {
    const method = document.querySelector('[data-effect]:checked');
    const asked = document.querySelector('[value=sign-in]').checked || method?.matches('[data-always]');
    effect.textContent = (asked ? method : effect)?.dataset.effect ?? '';
  };
  on(document, 'change', say);
  say();
});

// A list of people: one box ticks them all, and the bar says how many are chosen.
all('form[data-selection]', (form) => {
  const boxes = [...form.querySelectorAll('[name=user]')];
  const every = form.querySelector('[data-all]');
  const words = form.querySelector('[data-chosen]');
  const bar = words.parentElement;
  const none = words.textContent;
  const count = () => {
    const n = boxes.filter((box) => box.checked).length;
    every.checked = n > 0 && n === boxes.length;
    every.indeterminate = n > 0 && n < boxes.length;
    words.textContent = n ? form.dataset.selection.replace('{n}', n) : none;
    bar.classList.toggle('some', n > 0);
    bar.querySelectorAll('button').forEach((button) => { button.disabled = n === 0; });
  };
  every.hidden = false;
  words.setAttribute('role', 'status');
  on(every, 'change', () => { boxes.forEach((box) => { box.checked = every.checked; }); count(); });
  on(form, 'change', count);
  on(window, 'pageshow', count);
  count();
});

// A file is read into a field, where it can be checked before it is sent.
all('[data-file]', (box) => {
  const field = document.getElementById(box.dataset.file);
  const file = box.querySelector('input');
  box.hidden = false;
  on(file, 'change', async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    const large = chosen.size > 48 * 1024;
    file.setCustomValidity(large ? box.dataset.large : '');
    if (large) return file.reportValidity();
    field.value = await chosen.text();
    field.focus();
  });
});

// Whoever types into a field has chosen what it belongs to.
all('[data-chooses]', (input) => on(input, 'input', () => { document.getElementById(input.dataset.chooses).checked = true; }));

// Exact local time on the times.
all('time[data-relative]', (time) => {
  time.title = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: 'full', timeStyle: 'long' });
});

// Menus close on Escape and on a click elsewhere.
const close = (event) => all('.menu[open]', (menu) => {
  if (event.key === 'Escape') menu.querySelector('summary').focus();
  else if (event.key || menu.contains(event.target)) return;
  menu.open = false;
});
on(document, 'click', close);
on(document, 'keydown', close);

// Two minutes before the idle end: say so, and offer to stay.
const idle = +document.body.dataset.idleSeconds;
const warning = document.querySelector('.idle-warning');
if (idle && warning) {
  const stay = warning.querySelector('[data-ping]');
  let back;
  const start = () => setTimeout(() => { back = document.activeElement; warning.hidden = false; stay.focus(); }, (idle - 120) * 1e3);
  on(stay, 'click', async () => {
    const answer = await fetch(stay.dataset.ping, { method: 'POST', body: new URLSearchParams(new FormData(stay.form)) }).catch(() => 0);
    if (!answer.ok) return location.reload();
    warning.hidden = true;
    back?.focus();
    start();
  });
  start();
}
