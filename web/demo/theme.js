// Before anything is painted: the theme that was chosen here before. No choice: the system's. SPDX-License-Identifier: Apache-2.0
try {
  const theme = localStorage.getItem('kith-theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's */ }
