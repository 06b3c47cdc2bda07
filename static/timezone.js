// Sets the time zone that the browser is in, where nobody has chosen one.
const select = document.querySelector("select[name=timezone]");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
const refused = document.querySelector(".errors");
if (!refused && select && select.value === "UTC" && [...select.options].some((option) => option.value === here)) select.value = here;
