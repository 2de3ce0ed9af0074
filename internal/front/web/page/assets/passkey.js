// Passkeys. Password managers and older browsers have no parse…FromJSON and toJSON to rely on.
const can = window.PublicKeyCredential;
const read = (json) => JSON.parse(json, function (key, value) {
  return key === 'challenge' || (key === 'id' && (this.type ?? this.displayName) !== undefined)
    ? Uint8Array.from(atob(value.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt()) : value;
});
const write = ({ id, type, authenticatorAttachment, response }, clientExtensionResults) => {
  const { clientDataJSON, attestationObject, authenticatorData, signature, userHandle } = response;
  const transports = response.getTransports?.();
  return JSON.stringify({
    id, rawId: id, type, authenticatorAttachment, clientExtensionResults,
    response: { clientDataJSON, attestationObject, authenticatorData, signature, userHandle, transports },
  }, (key, value) => value?.byteLength >= 0
    ? btoa(String.fromCharCode(...new Uint8Array(value))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '') : value);
};

document.querySelectorAll('[data-passkey]').forEach((form) => {
  const { dataset: data, credential } = form;
  const [status, button, none] = form.querySelectorAll('p, button');
  let busy, stop;
  const ask = async (mediation, signal) => {
    const body = new URLSearchParams(new FormData(form));
    const got = read(data.fetch ? await (await fetch(data.fetch, { method: 'POST', body, signal })).text() : data.options);
    if (got.c) form.c.value = got.c;
    const made = await navigator.credentials[data.passkey]({ publicKey: got.options ?? got, mediation, signal });
    credential.value = write(made, made.getClientExtensionResults());
    form.requestSubmit(button);
    credential.value = '';
  };
  const suggest = async () => {
    if (!('conditional' in data) || !await can.isConditionalMediationAvailable?.() || busy) return;
    stop?.abort();
    stop = new AbortController();
    ask('conditional', stop.signal).catch(() => {});
  };

  button.hidden = !can;
  if (none) none.hidden = can;
  if (!can) return;
  button.type = 'submit';
  document.addEventListener('submit', async (event) => {
    stop?.abort();
    if (event.target !== form || credential.value) return;
    event.preventDefault();
    if (busy) return;
    busy = true;
    status.textContent = '';
    await ask().catch(({ name }) => {
      status.textContent = data[/Allowed|Abort/.test(name) ? 'cancelled' : /InvalidS/.test(name) ? 'exists' : 'failed'] ?? data.failed;
      setTimeout(suggest);
    });
    busy = false;
  }, true);
  suggest();
  setInterval(suggest, 54e4); // before the challenge expires
});

document.querySelectorAll('[data-signal], [data-unknown]').forEach(({ dataset: { signal, unknown } }) => {
  can?.[signal ? 'signalAllAcceptedCredentials' : 'signalUnknownCredential']?.(JSON.parse(signal ?? unknown)).catch(() => {});
});
