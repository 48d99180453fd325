import{a as r,c as o}from"./chunk-WIWIDJEM.js";var t=e=>(o(e,r("h1",{},"Board")),()=>{});export{t as board};
